/*
 * x87.h - the x87's instruction and data pointers, which must not be the host's
 *
 * The host's x87 notes where its last instruction and operand were: addresses of translated code
 * and of guest memory in the worker. No image of its state may reach the guest with those.
 * What a guest loads itself is kept in vp->x87_pointers, and the hardware gets X87_LOADED in its
 * place. If that is still there when the state is stored, no instruction has run since, and the
 * guest's own values go out; otherwise zeros do, as on processors that note the pointers for
 * exceptions only.
 *
 * Inline, because state.c, which is not light, needs them too.
 */
#ifndef DBT_X87_H
#define DBT_X87_H

#include "vp.h"

/* An address that no translated instruction has. */
#define X87_LOADED 1u

/* FXSAVE's image, which XSAVE's begins with: offsets. */
#define FXSAVE_OPCODE 6
#define FXSAVE_IP     8
#define FXSAVE_CS     12
#define FXSAVE_DP     16
#define FXSAVE_DS     20

static inline struct x87_pointers x87_pointers_shown(const struct dbt_vp *vp, uint32_t host_ip)
{
	return host_ip == X87_LOADED ? vp->x87_pointers : (struct x87_pointers){0};
}

/* Returns what the hardware's instruction pointer is to be. */
static inline uint32_t x87_pointers_take(struct dbt_vp *vp, const struct x87_pointers *pointers)
{
	vp->x87_pointers = *pointers;
	return pointers->ip | pointers->dp | pointers->cs | pointers->ds | pointers->opcode
		       ? X87_LOADED
		       : 0;
}

static inline void fxsave_put(uint8_t *image, const struct x87_pointers *pointers, bool wide)
{
	__builtin_memcpy(image + FXSAVE_OPCODE, &pointers->opcode, 2);
	__builtin_memcpy(image + FXSAVE_IP, &pointers->ip, 8);
	__builtin_memcpy(image + FXSAVE_DP, &pointers->dp, 8);
	if (wide)
		return;
	*(uint32_t *)(image + FXSAVE_CS) = pointers->cs;
	*(uint32_t *)(image + FXSAVE_DS) = pointers->ds;
}

static inline struct x87_pointers fxsave_get(const uint8_t *image, bool wide)
{
	struct x87_pointers pointers = {0};

	__builtin_memcpy(&pointers.opcode, image + FXSAVE_OPCODE, 2);
	__builtin_memcpy(&pointers.ip, image + FXSAVE_IP, wide ? 8 : 4);
	__builtin_memcpy(&pointers.dp, image + FXSAVE_DP, wide ? 8 : 4);
	if (!wide) {
		__builtin_memcpy(&pointers.cs, image + FXSAVE_CS, 2);
		__builtin_memcpy(&pointers.ds, image + FXSAVE_DS, 2);
	}
	return pointers;
}

/* From the host's image of the guest's state to the one that the guest may see ... */
static inline void x87_show(const struct dbt_vp *vp, uint8_t *image, bool wide)
{
	struct x87_pointers pointers =
		x87_pointers_shown(vp, *(const uint32_t *)(image + FXSAVE_IP));

	fxsave_put(image, &pointers, wide);
}

/* ... and from the guest's to what the host loads. */
static inline void x87_take(struct dbt_vp *vp, uint8_t *image, bool wide)
{
	struct x87_pointers pointers = fxsave_get(image, wide), hidden = {0};

	hidden.ip = x87_pointers_take(vp, &pointers);
	fxsave_put(image, &hidden, wide);
}

#endif
