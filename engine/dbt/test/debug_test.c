/*
 * debug_test.c - hardware breakpoints and single steps in the engine
 *
 * The guest has no IDT: #DB cannot be delivered, and the state at the shutdown is that of the #DB.
 */
#include "guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PLACE		       0x150000ull
#define AT_PLACE	       0x00, 0x00, 0x15, 0x00
#define STORE		       0x89, 0x04, 0x25, AT_PLACE /* mov [PLACE], eax: 7 bytes */
#define LOAD		       0x8b, 0x04, 0x25, AT_PLACE
#define OUT		       0xe6, 0x80, 0xf4 /* out 0x80, al; hlt */
#define FLAG_TF		       0x100u
#define FLAG_RF		       0x10000u
#define CR4_DE		       8u
#define LEN4		       3u
#define LEN1		       0u
#define EXECUTE		       0u
#define WRITE		       1u
#define IO		       2u
#define ANY		       3u
#define DR7(register, len, rw) (1u << 2 * (register) | ((len) << 2 | (rw)) << (16 + 4 * (register)))

static const struct row {
	const char *name;
	uint8_t code[16];
	unsigned int outs; /* exits by OUT that come first; the rest only if there is a #DB */
	unsigned int rip;
	uint32_t dr6;
	uint64_t dr[4];
	uint32_t dr7, flags;
} rows[] = {
	{"instruction", {0x90, 0x90, OUT}, 0, 1, 1, {GUEST_CODE + 1}, DR7(0, LEN1, EXECUTE)},
	{"the fourth instruction breakpoint",
	 {0x90, 0x90, OUT},
	 0,
	 1,
	 8,
	 {0, 0, 0, GUEST_CODE + 1},
	 DR7(3, LEN1, EXECUTE)},
	{"instruction, not enabled",
	 {0x90, 0x90, OUT},
	 1,
	 0,
	 0,
	 {0, GUEST_CODE + 1},
	 DR7(0, LEN1, EXECUTE)},
	{"RF holds it off for one",
	 {0x90, OUT},
	 1,
	 0,
	 0,
	 {GUEST_CODE},
	 DR7(0, LEN1, EXECUTE),
	 FLAG_RF},
	{"RF is over after one",
	 {0x90, 0x90, OUT},
	 0,
	 1,
	 1,
	 {GUEST_CODE + 1},
	 DR7(0, LEN1, EXECUTE),
	 FLAG_RF},
	{"RF lasts until the device answered",
	 {0xe6, 0x80, 0x90, OUT},
	 2,
	 0,
	 0,
	 {GUEST_CODE},
	 DR7(0, LEN1, EXECUTE),
	 FLAG_RF},
	{"store", {STORE, OUT}, 0, 7, 2, {0, PLACE}, DR7(1, LEN4, WRITE)},
	{"store to the last byte", {STORE, OUT}, 0, 7, 2, {0, PLACE + 3}, DR7(1, LEN1, WRITE)},
	{"store before", {STORE, OUT}, 1, 0, 0, {0, PLACE + 4}, DR7(1, LEN4, WRITE)},
	{"store behind", {STORE, OUT}, 1, 0, 0, {0, PLACE - 4}, DR7(1, LEN4, WRITE)},
	{"load, any access", {LOAD, OUT}, 0, 7, 4, {0, 0, PLACE}, DR7(2, LEN4, ANY)},
	{"load, stores watched", {LOAD, OUT}, 1, 0, 0, {0, 0, PLACE}, DR7(2, LEN4, WRITE)},
	{"two at once",
	 {STORE, OUT},
	 0,
	 7,
	 3,
	 {PLACE, PLACE + 2},
	 DR7(0, LEN4, ANY) | DR7(1, LEN1, WRITE)},
	{"push", {0x50, OUT}, 0, 1, 1, {GUEST_STACK - 8}, DR7(0, LEN4, WRITE)},
	{"repeated string",
	 {0xbf, AT_PLACE, 0x6a, 0x10, 0x59, 0xf3, 0xaa, OUT},
	 0,
	 10,
	 1,
	 {PLACE + 8},
	 DR7(0, LEN1, WRITE)},
	{"port", {0xe6, 0x80, 0x90, OUT}, 1, 2, 8, {0, 0, 0, 0x80}, DR7(3, LEN1, IO)},
	{"another port", {OUT}, 1, 0, 0, {0, 0, 0, 0x81}, DR7(3, LEN1, IO)},
	{"single step", {0x90, OUT}, 0, 1, 0x4000, {0}, 0, FLAG_TF},
	{"single step and data", {STORE, OUT}, 0, 7, 0x4001, {PLACE}, DR7(0, LEN4, WRITE), FLAG_TF},
	{"single step of an exit", {OUT}, 1, 2, 0x4000, {0}, 0, FLAG_TF},
	{"reading DR0 with GD", {0x90, 0x0f, 0x21, 0xc0, OUT}, 0, 1, 0x2000, {0}, 1u << 13},
	{"writing DR7 with GD", {0x0f, 0x23, 0xf8, OUT}, 0, 0, 0x2000, {0}, 1u << 13},
};

static void start(struct guest *guest, const struct row *row)
{
	static struct vp_state state;

	memcpy(guest->ram + GUEST_CODE, row->code, sizeof(row->code));
	partition_memory_written(guest->part, GUEST_CODE, sizeof(row->code));
	guest_state(guest, GUEST_LONG, 0, GUEST_CODE, &state);
	memcpy(state.dr, row->dr, sizeof(state.dr));
	state.dr6 = 0xffff0ff0;
	state.dr7 = 0x400 | row->dr7;
	state.regs.rflags |= row->flags;
	state.cr4 |= CR4_DE;
	assert_int_equal(vp_set_state(guest->vp[0], &state), 0);
}

static void check(struct guest *guest, const struct row *row)
{
	static struct vp_state state;
	struct vp_exit *exit = &guest->exit[0];

	for (unsigned int i = 0; i < row->outs; i++) {
		assert_int_equal(vp_run(guest->vp[0], exit), 0);
		if (exit->reason != VP_EXIT_PIO)
			fail_msg("%s: exit %d instead of the OUT", row->name, exit->reason);
	}
	if (!row->dr6)
		return;
	assert_int_equal(vp_run(guest->vp[0], exit), 0);
	if (exit->reason != VP_EXIT_SHUTDOWN)
		fail_msg("%s: exit %d instead of #DB", row->name, exit->reason);
	assert_int_equal(vp_get_state(guest->vp[0], &state), 0);
	if (state.regs.rip != GUEST_CODE + row->rip || (state.dr6 & 0xe00f) != row->dr6)
		fail_msg("%s: at %#llx, DR6 %#llx", row->name, (unsigned long long)state.regs.rip,
			 (unsigned long long)state.dr6);
	assert_false(state.dr7 & 1 << 13); /* a #DB clears GD */
}

static void breakpoints_hit_what_they_watch_and_nothing_else(void **state)
{
	struct guest guest;

	assert_int_equal(guest_new(1, &guest), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		start(&guest, &rows[i]);
		check(&guest, &rows[i]);
	}
	guest_free(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(breakpoints_hit_what_they_watch_and_nothing_else)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
