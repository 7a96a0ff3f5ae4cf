"""Roles that would connect as somebody they are not, and options made to hurt."""
import os
import subprocess
import time

import psycopg
import pymongo
import pytest

from certificates import authority, certificate
from harness import machine as machinery
from harness.mongo import Mongod
from streams import error_of, sync, wait_state

PING = "SELECT mongo_command('{\"ping\": 1}')"
WHO = """SELECT mongo_command('{"connectionStatus": 1}', 'admin') #>> '{authInfo,authenticatedUsers,0,user}'"""
BY_CERTIFICATE = "CN=backup,O=services"


@pytest.fixture
def role(db):
    """A login role that may use the server of the test, once there is one."""
    db.execute("DROP ROLE IF EXISTS mallory")
    db.execute("CREATE ROLE mallory LOGIN")
    yield "mallory"
    db.execute("DROP OWNED BY mallory CASCADE")
    db.execute("DROP ROLE mallory")


def refused(connection, statement):
    """The diagnostics with which a statement is refused."""
    with pytest.raises(psycopg.Error) as error:
        connection.execute(statement)
    return error.value.diag


# ---------------------------------------------------------------- the database server's certificate


@pytest.fixture(scope="module")
def certificates(machine):
    folder = machinery.pathlib.Path(machine.folder) / "identities"
    folder.mkdir()
    authority(folder, "signer")
    certificate(folder, "server", "signer", "DNS:localhost")
    certificate(folder, "backup", "signer", "DNS:backup", organization="services")
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


@pytest.fixture(scope="module")
def mongod(machine, certificates):
    """A MongoDB in which the certificate is root, and user limited may do nothing."""
    one = Mongod(machine, machinery.pathlib.Path(machine.folder) / "certified", machinery.free_ports()[0],
                 ["--auth", "--setParameter", "authenticationMechanisms=SCRAM-SHA-256,MONGODB-X509",
                  "--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(certificates / "server.pair"),
                  "--tlsCAFile", str(certificates / "signer.pem"), "--tlsAllowConnectionsWithoutCertificates"])
    one.process = machine.start(one.command, one.log)
    machinery.wait_until(lambda: "Waiting for connections" in one.log.read_text(), 30, "mongod listens")
    options = {"tls": True, "tlsCAFile": str(certificates / "signer.pem"), "directConnection": True}
    with pymongo.MongoClient("localhost", one.port, **options) as client:
        client.admin.command("createUser", "root", pwd="root", roles=["root"])
    with pymongo.MongoClient("localhost", one.port, username="root", password="root", **options) as client:
        client["$external"].command("createUser", BY_CERTIFICATE, roles=[{"role": "root", "db": "admin"}])
        client.admin.command("createUser", "limited", pwd="limited", roles=[])
    yield one
    one.kill()


@pytest.fixture
def certified(db, mongod, certificates, role):
    """A server whose URI names a certificate, and mallory with a mapping of a user who may do nothing."""
    db.create_server(f"mongodb://localhost:{mongod.port}/?tls=true&tlsCAFile={certificates}/signer.pem"
                     f"&tlsCertificateKeyFile={certificates}/backup.pair", "shop")
    db.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mallory")
    db.execute("CREATE USER MAPPING FOR mallory SERVER mongo OPTIONS (username 'limited', password 'limited', auth_source 'admin')")
    return db


def test_mapping_does_not_make_one_the_certificate(certified):
    """A mapping's owner who may use the server is not whom the server's certificate names."""
    with certified.connect("mallory") as mallory:
        assert mallory.execute(WHO).fetchone()[0] == "limited"
        diag = refused(mallory, "ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS"
                                " (DROP username, DROP password, DROP auth_source, ADD auth_mechanism 'MONGODB-X509')")
        assert diag.sqlstate == "42501" and "pg_read_server_files" in diag.message_hint
        for mechanism in ("MONGODB-X509", "GSSAPI", "MONGODB-AWS"):
            assert refused(mallory, f"ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS"
                                    f" (DROP password, ADD auth_mechanism '{mechanism}')").sqlstate == "42501"
        assert refused(mallory, "ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS"
                                " (ADD auth_mechanism 'MONGODB-OIDC')").sqlstate == "22023"
        mallory.execute("DROP USER MAPPING FOR CURRENT_USER SERVER mongo")
        assert refused(mallory, "CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (auth_mechanism 'MONGODB-X509')").sqlstate == "42501"
        assert refused(mallory, PING).sqlstate == "28000"


def test_identity_is_looked_at_when_connecting(certified):
    """Whoever made the mapping: it counts what its owner may be, now."""
    certified.execute("ALTER USER MAPPING FOR mallory SERVER mongo OPTIONS"
                      " (DROP username, DROP password, DROP auth_source, ADD auth_mechanism 'MONGODB-X509')")
    with certified.connect("mallory") as mallory:
        diag = refused(mallory, WHO)
        assert diag.sqlstate == "28000" and "MONGODB-X509" in diag.message_primary
        certified.execute("GRANT pg_read_server_files TO mallory")
        assert mallory.execute(WHO).fetchone()[0] == BY_CERTIFICATE
        certified.execute("REVOKE pg_read_server_files FROM mallory")
        assert refused(mallory, WHO).sqlstate == "28000"        # also of a session that stands
        certified.execute("ALTER SERVER mongo OPTIONS (ADD password_required 'false')")
        assert mallory.execute(WHO).fetchone()[0] == BY_CERTIFICATE
        certified.execute("ALTER SERVER mongo OPTIONS (SET password_required 'true')")
        assert refused(mallory, WHO).sqlstate == "28000"
    # by the URI, which everybody with USAGE would inherit
    options = dict(option.split("=", 1) for option in certified.column("SELECT unnest(srvoptions) FROM pg_foreign_server"))
    certified.execute("DROP USER MAPPING FOR mallory SERVER mongo")
    certified.execute(f"ALTER SERVER mongo OPTIONS (SET uri '{options['uri']}&authMechanism=MONGODB-X509')")
    assert certified.value(WHO) == BY_CERTIFICATE               # a superuser
    with certified.connect("mallory") as mallory:
        assert refused(mallory, WHO).sqlstate == "28000"


@pytest.mark.parametrize("command", [
    '{"authenticate": 1, "mechanism": "MONGODB-X509"}',
    '{"AUTHENTICATE": 1, "mechanism": "MONGODB-X509"}',
    '{"saslStart": 1, "mechanism": "PLAIN", "payload": {"$binary": {"base64": "AA==", "subType": "00"}}}',
    '{"saslContinue": 1, "conversationId": 1, "payload": ""}',
    '{"logout": 1}',
    '{"hello": 1, "speculativeAuthenticate": {"authenticate": 1, "mechanism": "MONGODB-X509", "db": "$external"}}',
    '{"isMaster": 1, "speculativeAuthenticate": {"authenticate": 1, "mechanism": "MONGODB-X509", "db": "$external"}}',
])
def test_no_command_changes_the_identity(certified, command):
    """A connection that was opened by the certificate's file does not become the certificate's user afterwards."""
    with certified.connect("mallory") as mallory:
        assert refused(mallory, f"SELECT mongo_command('{command}', '$external')").sqlstate == "42501"
        assert mallory.execute(WHO).fetchone()[0] == "limited"


# ---------------------------------------------------------------- no credentials at all


def test_no_password_no_connection(linked, role, mdb):
    """A role with USAGE does not connect from the database server's place with nothing of its own."""
    linked.execute("ALTER SERVER mongo OPTIONS (DROP password_required)")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mallory")
    linked.execute(f"IMPORT FOREIGN SCHEMA {mdb.name} FROM SERVER mongo INTO public")
    linked.execute("GRANT SELECT ON all_changes TO mallory")
    attempts = (PING, "SELECT * FROM check_mongo_server()", "SELECT create_change_stream('mine')",
                "SELECT count(*) FROM all_changes", "CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username 'x'); " + PING)
    linked.execute(PING)
    with linked.connect("mallory") as mallory:
        for attempt in attempts:
            diag = refused(mallory, attempt)
            assert diag.sqlstate == "28000", attempt
            assert "ALTER SERVER mongo OPTIONS (ADD password_required 'false')" in diag.message_hint
            assert "USER MAPPING FOR mallory" in diag.message_hint
        assert refused(mallory, "ALTER SERVER mongo OPTIONS (ADD password_required 'false')").sqlstate == "42501"
        linked.execute("ALTER SERVER mongo OPTIONS (ADD password_required 'false')")
        mallory.execute(PING)
        mallory.execute("SELECT count(*) FROM all_changes")


def test_servers_owner_does_not_allow_it(linked, role, mongo):
    """Only a superuser says so, and the owner cannot lead such a server elsewhere."""
    linked.execute("GRANT USAGE ON FOREIGN DATA WRAPPER mongo_change_stream TO mallory")
    with linked.connect("mallory") as mallory:
        create = f"CREATE SERVER own FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri '{mongo.uri}'%s)"
        assert refused(mallory, create % ", password_required 'false'").sqlstate == "42501"
        mallory.execute(create % ", password_required 'true'")
        assert refused(mallory, "ALTER SERVER own OPTIONS (SET password_required 'false')").sqlstate == "42501"
        assert refused(mallory, "SELECT mongo_command('{\"ping\": 1}', 'admin', 'own')").sqlstate == "28000"
        linked.execute("ALTER SERVER own OPTIONS (SET password_required 'false')")
        mallory.execute("SELECT mongo_command('{\"ping\": 1}', 'admin', 'own')")
        assert refused(mallory, "ALTER SERVER own OPTIONS (SET uri 'mongodb://127.0.0.1:1/')").sqlstate == "42501"
        mallory.execute("ALTER SERVER own OPTIONS (SET uri 'mongodb://127.0.0.1:1/', DROP password_required)")
        assert refused(mallory, "SELECT mongo_command('{\"ping\": 1}', 'admin', 'own')").sqlstate == "28000"


def test_stream_whose_server_is_closed(linked, role, mdb):
    """A stream that loses what its owner connected by is in error, with the command that helps, and comes back."""
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mallory")
    with linked.connect("mallory") as mallory:
        mallory.execute("SELECT create_change_stream('mine', collection => 'c', max_await_time => '100 ms')")
        sync(linked, "mine")
        linked.execute("ALTER SERVER mongo OPTIONS (DROP password_required)")
        now = wait_state(linked, "mine", "error")
        assert "may not connect" in now["last_error"] and "password_required" in now["reason"]
        assert now["next_retry_at"] is not None
        linked.execute("ALTER SERVER mongo OPTIONS (ADD password_required 'false')")
        mdb.c.insert_one({"_id": 1})
        wait_state(linked, "mine", "active")
        sync(linked, "mine")
        assert linked.value("SELECT count(*) FROM change_stream_events") == 1
        mallory.execute("SELECT drop_change_stream('mine')")


# ---------------------------------------------------------------- the validator


def test_validator_is_nobodys_to_call(db, role):
    """It is run by CREATE and ALTER, also of roles that may not call it."""
    db.execute("GRANT USAGE ON FOREIGN DATA WRAPPER mongo_change_stream TO mallory")
    with db.connect("mallory") as mallory:
        call = "SELECT mongo_change_stream_validator(ARRAY['uri=mongodb://h/'], 'pg_foreign_server'::regclass)"
        assert refused(mallory, call).sqlstate == "42501"
        mallory.execute("CREATE SERVER own FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://h/')")
        mallory.execute("ALTER SERVER own OPTIONS (SET uri 'mongodb://h:1/?appName=x')")
        mallory.execute("CREATE USER MAPPING FOR CURRENT_USER SERVER own OPTIONS (username 'u', password 'p')")
        mallory.execute("DROP SERVER own CASCADE")


@pytest.mark.parametrize("text", [
    "'mongodb://h/?' || repeat('a=b&', 30000)",
    "'mongodb://h/?' || (SELECT string_agg('x' || i || '=1', '&') FROM generate_series(1, 30000) AS i)",
    "'mongodb://h/?' || repeat('readPreferenceTags=a:b&', 350)",
    "'mongodb://' || repeat('h,', 4000) || 'h/'",
    "'mongodb://' || repeat('a', 8200) || '/'",
    "'mongodb://h/?' || repeat('&', 8000)",
    "'mongodb://' || repeat('a', 110000000) || '/'",
], ids=["options", "names", "tags", "hosts", "long", "separators", "huge"])
def test_hostile_uri_is_bounded(db, text):
    """The driver's reader takes quadratic time and memory; it gets nothing to do that with."""
    begin = time.monotonic()
    error = error_of(db, f"SELECT mongo_change_stream_validator(ARRAY['uri=' || {text}], 'pg_foreign_server'::regclass)")
    assert error.sqlstate in ("22023", "HV00D"), error
    assert len(str(error)) < 1000
    assert time.monotonic() - begin < (30 if "110000000" in text else 5)        # to make the text takes its time


def test_long_values_are_refused_before_they_are_read(db):
    db.create_server("mongodb://h/", "d")
    for option in ("start_at", "resume_after", "collection", "history"):
        assert error_of(db, f"DO $$ BEGIN EXECUTE 'ALTER SERVER mongo OPTIONS (ADD {option} ''' || repeat('8', 100000) || ''')'; END $$").sqlstate == "22023"
    for option in ("username", "password"):
        error = error_of(db, f"DO $$ BEGIN EXECUTE 'CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS ({option} ''' || repeat('s', 100000) || ''')'; END $$")
        assert error.sqlstate == "22023" and "sss" not in error.diag.message_primary


def test_without_memory(db, mongo):
    """A backend that gets no memory raises an error; the driver's allocator never ends the process."""
    with db.connect() as poor:
        poor.execute("SELECT mongo_change_stream_validator(NULL, NULL)")       # loads the library
        pid = poor.execute("SELECT pg_backend_pid()").fetchone()[0]
        used = next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmData"))
        outcomes = set()
        for spare in (0, 64, 300, 1000, 1300, 2000, 4000):
            subprocess.run(machinery.as_server_user(["prlimit", "--pid", str(pid), f"--data={(used + spare) * 1024}:"]), check=True)
            for statement in ("CREATE SERVER s FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://h:27017/?tls=true&appName=%41')",
                              f"CREATE SERVER t FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri '{mongo.uri}')",
                              "SELECT mongo_command('{\"ping\": 1}', 'admin', 't')", "DROP SERVER s", "DROP SERVER t"):
                try:
                    poor.execute(statement)
                    outcomes.add("")
                except psycopg.Error as error:
                    assert error.sqlstate, error
                    outcomes.add(error.sqlstate[:2])
        assert "53" in outcomes and "" in outcomes, outcomes
        # what a handler of a server's owner could do under handler_memory: text enough for PostgreSQL, not for another copy
        for spare in range(10, 130, 10):
            subprocess.run(machinery.as_server_user(["prlimit", "--pid", str(pid), f"--data={used * 1024 + (spare << 20)}:"]), check=True)
            with pytest.raises(psycopg.Error) as error:
                poor.execute("SELECT mongo_change_stream_validator(ARRAY['uri=mongodb://' || repeat('a', 20000000) || '/'], 'pg_foreign_server'::regclass)")
            assert error.value.sqlstate in ("53200", "22023"), error.value
        assert os.path.exists(f"/proc/{pid}")


# ---------------------------------------------------------------- options that the driver passes over


@pytest.mark.parametrize("options, hint", [
    ("tsl=true", '"tls"'), ("TLS=true&apname=x", '"appName"'), ("replicaset=rs0&readPreferance=secondary", '"readPreference"'),
    ("tlsCRLFile=/x", None), ("sslCAFile=/x", None), ("t%6Cs=true", None), ("=1", None), ("tls =true", '"tls"'),
])
def test_unknown_uri_option(db, options, hint):
    """What would have no effect is an error, with what may have been meant."""
    error = error_of(db, f"CREATE SERVER s FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://h/?{options}')")
    assert error.sqlstate == "HV00D", error
    if hint:
        assert hint in error.diag.message_hint


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile", "TLSCRLFILE", "sslCertificateAuthorityFile",
                                    "sslClientCertificateKeyFile"])
def test_files_are_for_those_who_may_read_them(db, role, option):
    db.execute("GRANT USAGE ON FOREIGN DATA WRAPPER mongo_change_stream TO mallory")
    with db.connect("mallory") as mallory:
        assert refused(mallory, f"CREATE SERVER s FOREIGN DATA WRAPPER mongo_change_stream OPTIONS"
                                f" (uri 'mongodb://h/?tls=true&{option}=/etc/passwd')").sqlstate == "42501"


# ---------------------------------------------------------------- what messages tell


def told(connection, statement):
    diag = refused(connection, statement)
    return diag.sqlstate, "\n".join(filter(None, (diag.message_primary, diag.message_detail, diag.message_hint, diag.context)))


def test_messages_do_not_name_other_peoples_streams(linked, role, postgres):
    """Of streams of others a stranger learns that a name is taken; who drops a server or a role, how many there are."""
    linked.execute("DROP ROLE IF EXISTS victim, registrar")
    linked.execute("CREATE ROLE victim LOGIN; CREATE ROLE registrar LOGIN CREATEROLE")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO mallory, victim")
    linked.execute("GRANT USAGE ON FOREIGN DATA WRAPPER mongo_change_stream TO mallory")
    linked.execute("SELECT create_change_stream('top_secret', paused => true)")
    with linked.connect("victim") as victim:
        victim.execute("SELECT create_change_stream('private', paused => true)")
        victim.execute("SELECT create_change_handler('privates', 'private', body => 'BEGIN END', paused => true)")
        victim.execute("SELECT create_change_stream('kept', paused => true)")
    linked.execute("INSERT INTO change_stream_events (stream_name, event_id, operation_type) VALUES ('kept', 1, 'insert')")
    linked.execute("SELECT drop_change_stream('kept', keep_events => true)")
    linked.execute("ALTER SERVER mongo OWNER TO mallory")
    with linked.connect("mallory") as mallory:
        for statement in ("SELECT pause_change_stream('private')", "SELECT drop_change_stream('private')", "SELECT drop_change_stream('kept')",
                          "SELECT create_change_stream('kept', paused => true)", "SELECT create_change_stream('private', paused => true)",
                          "SELECT drop_change_handler('privates')", "SELECT retry_dead_letters('privates')"):
            _, text = told(mallory, statement)
            assert "victim" not in text and "postgres" not in text, text
        mallory.execute("SELECT create_change_stream('own', paused => true)")
        sqlstate, text = told(mallory, "DROP SERVER mongo CASCADE")
        assert sqlstate == "2BP01" and "own, and 2 of other roles" in text
        assert "private" not in text and "top_secret" not in text
        assert told(mallory, "DROP ROLE victim")[0] == "42501"
    with linked.connect("registrar") as registrar:
        sqlstate, text = told(registrar, "DROP ROLE victim")
        # from 16 on a role that was made by somebody else is not this one's to drop
        assert sqlstate == ("2BP01" if postgres.installation.major < 16 else "42501") and "private" not in text
        sqlstate, text = told(registrar, "DROP ROLE postgres")
        assert sqlstate in ("42501", "2BP01") and "top_secret" not in text and "change stream" not in text
    sqlstate, text = told(linked.connection, "DROP ROLE victim")
    assert sqlstate == "2BP01" and "private" in text
    linked.execute("ALTER SERVER mongo OWNER TO postgres")
    linked.execute("DROP OWNED BY victim CASCADE; DROP ROLE victim, registrar")
