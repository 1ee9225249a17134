/*
 * fuzz_main.c - feeds the files of a corpus to a fuzz target, once each
 *
 * Linked with a *_fuzz.c in ordinary builds, so that every input that once found a defect stays a
 * test. Arguments are files or folders (not searched deeper). The target also gets the empty
 * input. A folder that does not exist or is empty is an error: a replay of nothing proves nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns the number of inputs replayed, or -errno. */
static int replay_file(const char *path)
{
	FILE *file = fopen(path, "re");
	struct stat status;
	uint8_t *data;
	size_t size;

	if (!file)
		return -errno;
	if (fstat(fileno(file), &status) < 0 || !(data = malloc(status.st_size + 1))) {
		fclose(file);
		return -EIO;
	}
	size = fread(data, 1, status.st_size, file);
	fclose(file);
	/* An exact allocation, so that the sanitizer sees a read past the end. */
	data = realloc(data, size ? size : 1);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

static int replay_folder(const char *path)
{
	DIR *folder = opendir(path);
	char child[PATH_MAX];
	struct dirent *entry;
	int count = 0, r = 0;

	if (!folder)
		return -errno;
	while (r >= 0 && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
		r = replay_file(child);
		count += r > 0;
	}
	closedir(folder);
	return r < 0 ? r : count;
}

static int replay(const char *path)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return -errno;
	return S_ISDIR(status.st_mode) ? replay_folder(path) : replay_file(path);
}

int main(int argc, char **argv)
{
	int total = 0;

	for (int i = 1; i < argc; i++) {
		int count = replay(argv[i]);

		if (count <= 0) {
			fprintf(stderr, "%s: %s\n", argv[i],
				count ? strerror(-count) : "no inputs");
			return 1;
		}
		total += count;
	}
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	printf("%d inputs replayed\n", total);
	return total == 0;
}
