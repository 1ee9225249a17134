/*
 * engines.h - the engine table, and which engine --accel means on this host
 */
#ifndef VM_ENGINES_H
#define VM_ENGINES_H

#include "partition.h"

/* The table ends with NULL; the order is that of preference. */
extern const struct engine *const engine_table[];

#define ENGINE_AUTO "auto"

struct engine_choice {
	const struct engine *engine;
	bool usable;	  /* false: asked for by name, but its probe says no */
	const char *code; /* of the chosen engine's probe */
	char what[256];	  /* a sentence: what was chosen */
	char why[256];	  /* and why */
};

/*
 * engine_choose() - pick the engine that @name means
 * @name: ENGINE_AUTO takes the first usable one; an engine's name takes that one, usable or not
 * Returns: 0; -ENOENT no engine has that name; -ENODEV (auto) none is usable, ->why says why.
 */
int engine_choose(const struct engine *const *table, const char *name,
		  struct engine_choice *ret_choice);

#endif
