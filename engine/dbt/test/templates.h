/*
 * templates.h - the forms of every instruction that the generator makes
 */
#ifndef DBT_TEST_TEMPLATES_H
#define DBT_TEST_TEMPLATES_H

#include "generate.h"
#include "vp.h"

/* A member that is -1 may be anything. */
struct template
{
	const char *name;
	uint8_t map, opcode;
	bool vex, both; /* VEX encoding; the row has both, so its name is the VEX form's */
	bool lock;
	bool modrm, by_opcode,
		vvvv;  /* operands are in ModRM, in the opcode's low bits; VEX.vvvv names one */
	bool repeats;  /* string instruction */
	int8_t prefix; /* mandatory: 0 none, 1 66, 2 F3, 3 F2 */
	int8_t reg, rm, mod, w, l, rex_b; /* mod: 0 memory, 1 register */
	bool chained;			  /* deals with flags */
	bool rare;			  /* cannot run to its end on this host */
	unsigned long ends;
};

enum role { VALUE, POINTER, INDEX };

struct generator {
	uint64_t random;
	bool code32;
	struct template *templates;
	unsigned int template_count, template_max;
	struct template **chain;
	unsigned int chain_count;
	uint8_t roles[VP_GPR_COUNT];
	struct {
		bool gfni, sha, vaes, vpclmul, adx;
		bool xsave_as_guest; /* the host has just the components that the guest has */
	} host;
};

/* Walks the opcode maps; 0 or -ENOMEM. */
int templates_build(struct generator *generator);

#endif
