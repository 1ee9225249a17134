/*
 * engine_choice.c - the first usable engine of the table, and the reason in words
 */
#include "engines.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void choose(struct engine_choice *choice, const struct engine *engine,
		   const struct engine_probe *probe)
{
	choice->engine = engine;
	choice->usable = probe->usable;
	choice->code = probe->code;
	snprintf(choice->what, sizeof(choice->what), "engine %s: %s", engine->name,
		 engine->description);
	/* There already: why not the engines before. */
	if (!*choice->why)
		snprintf(choice->why, sizeof(choice->why), "%s", probe->why);
}

static int choose_by_name(const struct engine *const *table, const char *name,
			  struct engine_choice *choice)
{
	for (; *table; table++) {
		struct engine_probe probe = {};

		if (strcmp((*table)->name, name))
			continue;
		(*table)->probe(&probe);
		choose(choice, *table, &probe);
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
		choose(choice, *table, &probe);
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
