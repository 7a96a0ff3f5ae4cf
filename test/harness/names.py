"""A resolver of the test's own: host names that lead where it says, lead nowhere, or are never answered for."""
import contextlib
import os
import subprocess

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (*resolver)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* Names that end with .test are looked up in the file that TEST_NAMES names: "name address" or "name never". */
int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	resolver	real = (resolver) dlsym(RTLD_NEXT, "getaddrinfo");
	char		line[256], known[128], address[128], leads_to[128] = "";
	FILE	   *file;

	if (name == NULL || strlen(name) < 6 || strcmp(name + strlen(name) - 5, ".test") != 0)
		return real(name, service, hints, found);
	if ((file = fopen(getenv("TEST_NAMES"), "r")) == NULL)
		return EAI_AGAIN;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%127s %127s", known, address) == 2 && strcmp(known, name) == 0)
			strcpy(leads_to, address);
	fclose(file);
	if (leads_to[0] == '\0')
		return EAI_NONAME;
	if (strcmp(leads_to, "never") == 0)
	{
		for (int i = 0; i < 300; i++)
			sleep(1);
		return EAI_AGAIN;
	}
	return real(leads_to, service, hints, found);
}
"""


class Names:
    """Host names that end with .test, for the processes that are started with its environment."""

    def __init__(self, machine):
        folder = machine.new_folder("names")
        self.library, self.file = folder / "names.so", folder / "names"
        source = folder / "names.c"
        source.write_text(LIBRARY)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(self.library), str(source), "-ldl"], check=True)
        self.set()

    def set(self, **addresses):
        """The names that there are from now on, without their .test; an address, or "never"."""
        new = self.file.with_suffix(".new")
        new.write_text("".join(f"{name}.test {address}\n" for name, address in addresses.items()))
        new.chmod(0o644)
        new.replace(self.file)

    @contextlib.contextmanager
    def used(self):
        """What is started meanwhile asks this resolver."""
        before = dict(os.environ)
        os.environ.update(LD_PRELOAD=str(self.library), TEST_NAMES=str(self.file))
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
