"""What a release consists of: META.json is as PGXN wants it, the archive has all of it, and every file names the same version."""
import json
import re
import subprocess
import zipfile

import pytest

LICENCES = {"agpl_3", "apache_1_1", "apache_2_0", "artistic_1", "artistic_2", "bsd", "freebsd", "gfdl_1_2", "gfdl_1_3", "gpl_1", "gpl_2", "gpl_3", "lgpl_2_1",
            "lgpl_3_0", "mit", "mozilla_1_0", "mozilla_1_1", "openssl", "perl_5", "postgresql", "qpl_1_0", "ssleay", "sun", "zlib", "open_source",
            "restricted", "unrestricted", "unknown"}
KEYS = {"abstract", "maintainer", "license", "provides", "name", "version", "meta-spec", "description", "generated_by", "tags", "no_index", "prereqs",
        "release_status", "resources"}
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[A-Za-z][\w-]*)?")
TERM = re.compile(r"[^\s/\\\x00-\x1f]{2,}")


def faults_of(meta):
    """What PGXN's specification of META.json (1.0.0) does not allow."""
    for key in ("abstract", "maintainer", "license", "provides", "name", "version", "meta-spec"):
        if not meta.get(key):
            yield f"{key} is missing"
    for key in meta.keys() - KEYS:
        if not key.lower().startswith("x_"):
            yield f"{key} is no key"
    if not TERM.fullmatch(meta.get("name", "")):
        yield "name is no term"
    if not VERSION.fullmatch(meta.get("version", "")):
        yield "version is no semantic version"
    if meta.get("license") not in LICENCES:
        yield "license is none of PGXN's"
    if meta.get("meta-spec", {}).get("version") not in ("1.0.0", "1.0.1"):
        yield "meta-spec is no version of it"
    if meta.get("release_status", "stable") not in ("stable", "testing", "unstable"):
        yield "release_status is none"
    for name, what in meta.get("provides", {}).items():
        if not TERM.fullmatch(name) or not what.get("file") or not VERSION.fullmatch(what.get("version", "")):
            yield f"provides {name}: a term, a file and a version are wanted"
    for tag in meta.get("tags", []):
        if not 1 <= len(tag) <= 255 or re.search(r"[/\\\x00-\x1f]", tag):
            yield f"tag {tag}"
    for phase, relations in meta.get("prereqs", {}).items():
        if phase not in ("configure", "build", "test", "runtime", "develop"):
            yield f"prereqs of {phase}"
        for relation, wanted in relations.items():
            if relation not in ("requires", "recommends", "suggests", "conflicts"):
                yield f"prereqs: {relation}"
            for name, version in wanted.items():
                if version != 0 and not all(VERSION.fullmatch(part.split()[-1]) for part in version.split(",")):
                    yield f"prereqs: {name} {version}"


@pytest.fixture
def meta(repository):
    return json.loads((repository / "META.json").read_text())


def test_meta(repository, meta):
    assert list(faults_of(meta)) == []
    for what in meta["provides"].values():
        assert (repository / what["file"]).is_file() and (repository / what["docfile"]).is_file()
    for broken in ({"name": "a"}, {"version": "1.1"}, {"license": "own"}, {"provides": {"x y": {}}}, {"more": 1}, {"prereqs": {"later": {}}}):
        assert list(faults_of({**meta, **broken})), broken


def test_one_version(repository, meta):
    def found(path, pattern):
        return re.search(pattern, (repository / path).read_text(), re.M).group(1)

    version, short = meta["version"], meta["version"].rsplit(".", 1)[0]
    assert found("debian/changelog", r"\A[\w-]+ \(([\d.]+)-\d+\)") == version == meta["provides"]["mongo_change_stream"]["version"]
    assert found("Makefile", r"^EXTVERSION = (.*)$") == found("mongo_change_stream.control", "default_version = '(.*)'") == short
    assert found("CHANGELOG.md", r"^## (\S+)$") == short


def test_archive(repository):
    """It holds all that is committed, below one folder."""
    inside = subprocess.run(["git", "-C", repository, "ls-tree", "-r", "--name-only", "HEAD"], capture_output=True, text=True)
    if inside.returncode:
        pytest.skip("not a clone")
    made = subprocess.run(["make", "-s", "-C", repository, "dist"], capture_output=True, text=True, check=True).stdout.strip()
    folder = made.rsplit("/", 1)[1].removesuffix(".zip")
    with zipfile.ZipFile(repository / made) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert names == {f"{folder}/{name}" for name in inside.stdout.splitlines()} and re.fullmatch(r"mongo_change_stream-\d+\.\d+\.\d+", folder)


def test_control_of_debian(repository):
    """debian/control is control.in for every PostgreSQL that is supported."""
    source, package = (repository / "debian/control.in").read_text().rstrip().split("\n\n")
    assert (repository / "debian/control").read_text() == "\n\n".join([source, *(package.replace("PGVERSION", major) for major in ("15", "16", "17", "18"))]) + "\n"


def test_workflow_runs_ci(repository):
    """GitHub's workflow runs .ci/run, and the image is built of files that there are."""
    assert "- run: bash .ci/run\n" in (repository / ".github/workflows/ci.yaml").read_text()
    for line in re.findall(r"^COPY (?!--from)(.*)$", (repository / "docker/Dockerfile").read_text(), re.M):
        assert all((repository / name).exists() for name in line.split()[:-1]), line
