"""TLS: what the URI says holds, and what is wrong is told."""
import psycopg
import pytest

from certificates import authority, certificate
from harness import machine as machinery
from harness.mongo import Mongod

PING = "SELECT mongo_command('{\"ping\": 1}')"


@pytest.fixture(scope="module")
def certificates(machine):
    folder = machinery.pathlib.Path(machine.folder) / "certificates"
    folder.mkdir()
    authority(folder, "good")
    authority(folder, "bad")
    certificate(folder, "server", "good", "DNS:localhost")
    certificate(folder, "client", "good", "DNS:client")
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


@pytest.fixture(scope="module")
def tls_mongod(machine, certificates):
    """A single server that speaks TLS only, and whose certificate is for localhost."""
    one = Mongod(machine, machinery.pathlib.Path(machine.folder) / "tls", machinery.free_ports()[0],
                 ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", str(certificates / "server.pair"),
                  "--tlsCAFile", str(certificates / "good.pem"), "--tlsAllowConnectionsWithoutCertificates"])
    one.process = machine.start(one.command, one.log)
    machinery.wait_until(lambda: "Waiting for connections" in one.log.read_text(), 30, "mongod listens")
    yield one
    one.kill()


def use(db, port, *options, host="localhost"):
    db.execute("DROP SERVER IF EXISTS mongo CASCADE")
    db.create_server(f"mongodb://{host}:{port}/?" + "&".join(options), "admin")


def refused(db):
    with pytest.raises(psycopg.errors.SqlclientUnableToEstablishSqlconnection) as failure:
        db.execute(PING)
    return failure.value.diag


def test_tls(db, tls_mongod, certificates):
    """With the right authority, and with a certificate of our own."""
    authority_file = f"tlsCAFile={certificates}/good.pem"
    use(db, tls_mongod.port, "tls=true", authority_file)
    db.execute(PING)
    use(db, tls_mongod.port, "tls=true", authority_file, "compressors=zlib")
    db.execute("SELECT mongo_command('{\"hello\": 1}'), mongo_command('{\"buildInfo\": 1}')")
    use(db, tls_mongod.port, "tls=true", authority_file, f"tlsCertificateKeyFile={certificates}/client.pair")
    db.execute(PING)


def test_wrong_authority(db, tls_mongod, certificates):
    use(db, tls_mongod.port, "tls=true", f"tlsCAFile={certificates}/bad.pem")
    diag = refused(db)
    assert "certificate verify failed" in diag.message_detail
    assert "tlsCAFile" in diag.message_hint
    use(db, tls_mongod.port, "tls=true")
    assert "certificate verify failed" in refused(db).message_detail


def test_wrong_host_name(db, tls_mongod, certificates):
    """The certificate must be for the host that the URI names, unless the URI waives that."""
    use(db, tls_mongod.port, "tls=true", f"tlsCAFile={certificates}/good.pem", host="127.0.0.1")
    diag = refused(db)
    assert "certificate" in diag.message_detail
    assert "host names" in diag.message_hint
    use(db, tls_mongod.port, "tls=true", f"tlsCAFile={certificates}/good.pem", "tlsAllowInvalidHostnames=true", host="127.0.0.1")
    db.execute(PING)


def test_missing_files(db, tls_mongod, certificates):
    for option in ("tlsCAFile", "tlsCertificateKeyFile"):
        use(db, tls_mongod.port, "tls=true", f"{option}={certificates}/missing.pem")
        assert "TLS" in refused(db).message_detail


def test_no_tls_where_it_is_asked_for(db, tls_mongod, mongo):
    """Neither side hangs when only one speaks TLS."""
    use(db, tls_mongod.port)
    refused(db)
    use(db, mongo.members[0].port, "tls=true", "connectTimeoutMS=2000", host="127.0.0.1")
    refused(db)


def test_frozen_in_handshake(db, tls_mongod, certificates):
    """A server that hangs in the handshake holds up neither a cancel nor the driver for longer than connectTimeoutMS."""
    use(db, tls_mongod.port, "tls=true", f"tlsCAFile={certificates}/good.pem", "connectTimeoutMS=1500")
    tls_mongod.freeze()
    try:
        db.execute("SET statement_timeout = '400ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            db.execute(PING)
        db.execute("RESET statement_timeout")
        refused(db)
    finally:
        tls_mongod.thaw()
    db.execute(PING)
