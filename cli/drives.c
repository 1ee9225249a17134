/*
 * drives.c - --disk and --dvd: a file's name and, after commas, where and how it is attached
 */
#include "drives.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "size.h"

struct parse {
	struct vm_drive *drive;
	bool has_lun, has_controller;
	char *reason;
};

static int set_bus(struct parse *parse, const char *value)
{
	if (strcmp(value, "scsi") && strcmp(value, "ide"))
		return -EINVAL;
	parse->drive->bus = strcmp(value, "ide") ? VM_BUS_SCSI : VM_BUS_IDE;
	return 0;
}

static int set_number(const char *value, uint64_t max, unsigned int *ret_number, bool *ret_given)
{
	uint64_t number;

	if (number_parse(value, 0, max, &number) < 0)
		return -EINVAL;
	*ret_number = number;
	*ret_given = true;
	return 0;
}

static int set_lun(struct parse *parse, const char *value)
{
	return set_number(value, VM_SCSI_LUNS - 1, &parse->drive->lun, &parse->has_lun);
}

static int set_controller(struct parse *parse, const char *value)
{
	return set_number(value, VM_SCSI_CONTROLLERS - 1, &parse->drive->controller,
			  &parse->has_controller);
}

static int set_format(struct parse *parse, const char *value)
{
	static const char *const names[] = VM_FORMAT_NAMES;

	for (size_t i = 0; names[i]; i++) {
		if (!strcmp(value, names[i])) {
			parse->drive->format = (enum vm_format)i;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_read_only(struct parse *parse, const char *value)
{
	parse->drive->read_only = true;
	return 0;
}

static const struct {
	const char *name;
	bool has_value;
	const char *values; /* for the user */
	int (*set)(struct parse *parse, const char *value);
} words[] = {
	{"bus", true, "scsi or ide", set_bus},
	{"controller", true, "0 to 3 (ide: 0 or 1)", set_controller},
	{"lun", true, "0 to 63 (ide: 0 or 1)", set_lun},
	{"format", true, "auto, raw, vhd, vhdx, vmdk or qcow2", set_format},
	{"read-only", false, "no value", set_read_only},
	{"readonly", false, "no value", set_read_only}, /* as it was called first */
};

static int set_word(struct parse *parse, char *word)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = 0;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(words[i].name, word))
			continue;
		if (words[i].has_value == !!value && !words[i].set(parse, value))
			return 0;
		snprintf(parse->reason, 128, "%s takes %s", word, words[i].values);
		return -EINVAL;
	}
	snprintf(parse->reason, 128,
		 "'%.24s' is none of bus=, controller=, lun=, format=, read-only; a comma in a "
		 "file's name is written twice",
		 word);
	return -EINVAL;
}

/* The file's name, up to the first single comma; @ret_rest: behind that, or NULL. */
static char *take_path(const char *text, const char **ret_rest)
{
	char *path = malloc(strlen(text) + 1), *to = path;

	*ret_rest = NULL;
	for (; path && *text; text++) {
		if (*text == ',' && text[1] != ',') {
			*ret_rest = text + 1;
			break;
		}
		text += *text == ',';
		*to++ = *text;
	}
	if (path)
		*to = 0;
	return path;
}

static int set_words(struct parse *parse, const char *text)
{
	char *copy = strdup(text), *at = copy, *word;
	int r = copy ? 0 : -ENOMEM;

	while (r >= 0 && (word = strsep(&at, ",")))
		r = set_word(parse, word);
	free(copy);
	return r;
}

/* The first free place on what was asked for; IDE goes on to the second channel. */
static void choose_place(struct parse *parse, const struct vm_drive *taken, size_t count)
{
	struct vm_drive *drive = parse->drive;

	while (vm_is_taken(taken, count, drive)) {
		if (++drive->lun < vm_luns(drive->bus))
			continue;
		if (parse->has_controller || drive->bus == VM_BUS_SCSI || drive->controller)
			return; /* full: what attaches it says so */
		drive->lun = 0;
		drive->controller++;
	}
}

static int check_place(const struct parse *parse, const struct vm_drive *taken, size_t count)
{
	const struct vm_drive *drive = parse->drive;
	bool ide = drive->bus == VM_BUS_IDE;

	if (drive->controller >= vm_controllers(drive->bus) || drive->lun >= vm_luns(drive->bus))
		strcpy(parse->reason, "with bus=ide, controller and lun are 0 or 1 each");
	else if (ide && drive->dvd)
		strcpy(parse->reason, "a DVD drive needs bus=scsi");
	else if (vm_is_taken(taken, count, drive))
		snprintf(parse->reason, 128, "there is a drive at controller %u, lun %u already",
			 drive->controller, drive->lun);
	else
		return 0;
	return -EINVAL;
}

int drive_parse(const char *text, bool dvd, const struct vm_drive *taken, size_t taken_count,
		struct vm_drive *ret_drive, char reason[static 128])
{
	struct vm_drive drive = {.dvd = dvd, .read_only = dvd};
	struct parse parse = {.drive = &drive, .reason = reason};
	const char *rest;
	char *path = take_path(text, &rest);
	int r = path && *path ? 0 : -EINVAL;

	strcpy(reason, "a file name is needed");
	if (r >= 0 && rest)
		r = set_words(&parse, rest);
	if (r < 0) {
		free(path);
		return r;
	}
	if (!parse.has_lun)
		choose_place(&parse, taken, taken_count);
	r = check_place(&parse, taken, taken_count);
	if (r < 0) {
		free(path);
		return r;
	}
	drive.path = path;
	*ret_drive = drive;
	return 0;
}
