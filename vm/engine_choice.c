/*
 * engine_choice.c - the first usable engine of the table, and the reason in words
 */
#include "engines.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void describe(struct engine_choice *choice)
{
	snprintf(choice->what, sizeof(choice->what), "engine %s: %s", choice->engine->name,
		 choice->engine->description);
}

static int choose_by_name(const struct engine *const *table, const char *name,
			  struct engine_choice *choice)
{
	for (; *table; table++) {
		struct engine_probe probe = {};

		if (strcmp((*table)->name, name))
			continue;
		(*table)->probe(&probe);
		choice->engine = *table;
		choice->usable = probe.usable;
		choice->code = probe.code;
		describe(choice);
		snprintf(choice->why, sizeof(choice->why), "%s", probe.why);
		return 0;
	}
	return -ENOENT;
}

/* Why not the engines before: "kvm is not usable: <why>; ..." */
static void note_unusable(struct engine_choice *choice, const struct engine *engine,
			  const struct engine_probe *probe)
{
	size_t used = strlen(choice->why);

	snprintf(choice->why + used, sizeof(choice->why) - used, "%s%s is not usable here: %s",
		 used ? "; " : "", engine->name, probe->why);
}

static int choose_first_usable(const struct engine *const *table, struct engine_choice *choice)
{
	for (; *table; table++) {
		struct engine_probe probe = {};

		(*table)->probe(&probe);
		if (!probe.usable) {
			note_unusable(choice, *table, &probe);
			continue;
		}
		choice->engine = *table;
		choice->usable = true;
		choice->code = probe.code;
		describe(choice);
		if (!*choice->why)
			snprintf(choice->why, sizeof(choice->why), "%s", probe.why);
		return 0;
	}
	return -ENODEV;
}

int engine_choose(const struct engine *const *table, const char *name,
		  struct engine_choice *ret_choice)
{
	memset(ret_choice, 0, sizeof(*ret_choice));
	if (!strcmp(name, ENGINE_AUTO))
		return choose_first_usable(table, ret_choice);
	return choose_by_name(table, name, ret_choice);
}
