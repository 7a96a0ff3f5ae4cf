-- Options of servers, user mappings and foreign tables; and what needs no MongoDB.
\set VERBOSITY default
SET client_min_messages = warning;

-- a server needs a uri
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream;
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (database 'shop');

-- which MongoDB's driver understands
\set VERBOSITY terse
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri '');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'http://127.0.0.1/');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:99999/');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:x/');

\set VERBOSITY default
-- and which holds nobody's secrets: they are not repeated, either
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://app:secret@127.0.0.1/');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://app@127.0.0.1/');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb+srv://app:sec%zzret@example.invalid');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?tls=true&tlsCertificateKeyFilePassword=secret');

-- and which has no option that the driver would pass over
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?tsl=true');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?replicaset=rs0&readPreferance=nearest');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?quite=different');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?tls=true&tlsCRLFile=/tmp/crl');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?tls=true&ssl=false');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?tls');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?appName=a%zz');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1?tls=true');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://[::1]:0/');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://a,b/?directConnection=true');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?connectTimeoutMS=soon');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?authMechanism=MONGODB-OIDC');

-- nor one that is longer than any
\set VERBOSITY terse
DO $$ BEGIN EXECUTE format('CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri %L)', 'mongodb://127.0.0.1/?appName=' || repeat('x', 9000)); END $$;
DO $$ BEGIN EXECUTE format('CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri %L)', 'mongodb://127.0.0.1/?' || repeat('readPreferenceTags=a:b&', 101)); END $$;
DO $$ BEGIN EXECUTE format('CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri %L)', 'mongodb://' || repeat('h,', 50) || 'h/'); END $$;
DO $$ BEGIN EXECUTE format('CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri %L, start_at %L)', 'mongodb://127.0.0.1/', repeat('8', 9000)); END $$;
\set VERBOSITY default

-- options belong to one kind of object
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', password 'x');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', colection 'x');
CREATE FOREIGN DATA WRAPPER another VALIDATOR mongo_change_stream_validator OPTIONS (uri 'mongodb://127.0.0.1/');

-- values
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', database 'a.b');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', database '');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', collection '$x');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', full_document 'off');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', full_document_before_change 'updateLookup');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', show_expanded_events 'maybe');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', pipeline '{"$match": {}}');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', start_at 'soon');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', resume_after '82zz');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', batch_size '0');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', batch_size '10x');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', history 'maybe');
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/', share_cursor 'maybe');

-- all of them, right
CREATE SERVER m FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (
  uri 'mongodb://127.0.0.1:1,[::1]:2,h/?replicaSet=rs0&compressors=zstd&readPreference=secondaryPreferred&readPreferenceTags=dc:a&readPreferenceTags=&w=1&readConcernLevel=majority',
  database 'shop', collection 'orders', full_document 'update_lookup', full_document_before_change 'whenAvailable',
  show_expanded_events 'on', pipeline ' [{"$match": {"operationType": "insert"}}]', start_at '2026-01-01 00:00:00+00',
  resume_after '826B03558C000000012B0229296E04', batch_size '500', history 'strict', share_cursor 'on');
ALTER SERVER m OPTIONS (SET start_at 'earliest', SET history 'available', DROP collection);
ALTER SERVER m OPTIONS (SET uri 'mongodb://a:b@127.0.0.1/');
ALTER SERVER m OPTIONS (DROP uri);

-- user mappings
CREATE USER MAPPING FOR CURRENT_USER SERVER m OPTIONS (usename 'app');
CREATE USER MAPPING FOR CURRENT_USER SERVER m OPTIONS (database 'shop');
CREATE USER MAPPING FOR CURRENT_USER SERVER m OPTIONS (username 'app', password '');
CREATE USER MAPPING FOR CURRENT_USER SERVER m OPTIONS (username 'app', auth_mechanism 'KERBEROS');
CREATE USER MAPPING FOR CURRENT_USER SERVER m OPTIONS (username 'app', auth_source 'a$b');
CREATE USER MAPPING FOR CURRENT_USER SERVER m OPTIONS (username 'app', password 'pa:ss@w/örd', auth_source '$external', auth_mechanism 'SCRAM-SHA-256');

-- what would lend the database server's files or identity takes a right
CREATE ROLE mcs_option_user;
CREATE ROLE mcs_option_reader IN ROLE pg_read_server_files;
GRANT USAGE ON FOREIGN DATA WRAPPER mongo_change_stream TO mcs_option_user, mcs_option_reader;
SET ROLE mcs_option_user;
CREATE SERVER n FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?tls=true&tlsCAFile=/etc/passwd');
CREATE SERVER n FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?tls=true&tlsCertificateKeyFile=/etc/passwd');
CREATE SERVER n FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?ssl=true&sslCertificateAuthorityFile=/etc/passwd');
\set VERBOSITY terse
CREATE SERVER n FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?authMechanism=GSSAPI');
\set VERBOSITY default
CREATE SERVER n FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/');
CREATE USER MAPPING FOR CURRENT_USER SERVER n OPTIONS (username 'app', auth_mechanism 'GSSAPI');
CREATE USER MAPPING FOR CURRENT_USER SERVER n OPTIONS (username 'app', auth_mechanism 'MONGODB-AWS');
CREATE USER MAPPING FOR CURRENT_USER SERVER n OPTIONS (auth_mechanism 'MONGODB-X509');
CREATE USER MAPPING FOR CURRENT_USER SERVER n OPTIONS (username 'app', password 'secret');
ALTER USER MAPPING FOR CURRENT_USER SERVER n OPTIONS (DROP username, DROP password, ADD auth_mechanism 'MONGODB-X509');
ALTER USER MAPPING FOR CURRENT_USER SERVER n OPTIONS (ADD auth_mechanism 'MONGODB-AWS');
ALTER USER MAPPING FOR CURRENT_USER SERVER n OPTIONS (DROP password);

-- and so does to connect with nothing of one's own
ALTER USER MAPPING FOR CURRENT_USER SERVER n OPTIONS (DROP password, DROP auth_mechanism);
SELECT mongo_command('{"ping": 1}', 'admin', 'n');
DROP USER MAPPING FOR CURRENT_USER SERVER n;
SELECT mongo_command('{"ping": 1}', 'admin', 'n');
ALTER SERVER n OPTIONS (ADD password_required 'perhaps');
ALTER SERVER n OPTIONS (ADD password_required 'false');
ALTER SERVER n OPTIONS (ADD password_required 'true');
SELECT mongo_command('{"ping": 1}', 'admin', 'n');
RESET ROLE;
ALTER SERVER n OPTIONS (SET password_required 'false');
SET ROLE mcs_option_user;
ALTER SERVER n OPTIONS (ADD database 'shop');
ALTER SERVER n OPTIONS (ADD database 'shop', DROP password_required);
SELECT mongo_change_stream_validator('{}', 'pg_foreign_server'::regclass);
DROP SERVER n CASCADE;
SET ROLE mcs_option_reader;
CREATE SERVER n FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1/?tls=true&tlsCAFile=/etc/passwd');
DROP SERVER n;
RESET ROLE;

-- which server, and who may use it
SET ROLE mcs_option_user;
SELECT mongo_command('{"ping": 1}');
RESET ROLE;
SELECT mongo_command('{"ping": 1}', server => 'missing');
CREATE SERVER n FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/');
SELECT mongo_command('{"ping": 1}');
SELECT mongo_command('{"ping": 1}', server => 'n');
CREATE FOREIGN DATA WRAPPER another;
CREATE SERVER other FOREIGN DATA WRAPPER another;
SELECT mongo_command('{"ping": 1}', server => 'other');
SELECT mongo_command(NULL), mongo_command(NULL, 'admin', 'n');
SELECT mongo_command('{}', 'admin', 'n');
SELECT mongo_command('[{"ping": 1}]', 'admin', 'n');
SELECT mongo_command('"ping"', 'admin', 'n');
SELECT mongo_command('{"logout": 1}', 'admin', 'n');
SELECT mongo_command('{"hello": 1, "speculativeAuthenticate": {}}', 'admin', 'n');
DROP SERVER m CASCADE;
DROP SERVER n;
SELECT mongo_command('{"ping": 1}', 'admin');
SELECT * FROM check_mongo_server();

DROP FOREIGN DATA WRAPPER another CASCADE;
DROP OWNED BY mcs_option_user, mcs_option_reader;
DROP ROLE mcs_option_user, mcs_option_reader;
