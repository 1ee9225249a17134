/*
 * run_test.c - a machine on an engine made for the test: every kind of end, and the choice of
 * an engine
 *
 * The fake engine's VPs do what a script says: one exit per step, then wait to be cancelled.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engines.h"
#include "multiboot.h"
#include "vm_internal.h"

#define PORT_RESET	0xcf9
#define PORT_PM_CONTROL 0x604
#define SLEEP_S5	(1u << 13 | 5u << 10)

/* --- the engine --- */

struct fake_vp {
	struct vp vp;
	unsigned int step;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool cancelled;
	struct vp_state state;
};

/* What VP 0 does; the others only wait. Ends with the reason FAKE_WAIT. */
#define FAKE_WAIT ((enum vp_exit_reason)99)
static const struct vp_exit *script;
static unsigned int boots, live_vps, wrong_answers;
static atomic_uint running; /* VPs inside vp_run() */
static unsigned int stops, starts, time_errors;
static unsigned int reset_boots; /* of these the script runs; later ones power off at once */

static const struct vp_exit power_off[] = {
	{.reason = VP_EXIT_PIO, .pio = {PORT_PM_CONTROL, 2, true, SLEEP_S5}},
	{.reason = FAKE_WAIT},
};

static int fake_create(const struct partition_config *config, struct partition **ret_part)
{
	*ret_part = calloc(1, sizeof(**ret_part));
	if (++boots > reset_boots && reset_boots)
		script = power_off;
	return 0;
}

static void fake_destroy(struct partition *part)
{
	for (unsigned int i = 0; i < part->vp_count; i++) {
		live_vps -= part->vps[i] != NULL;
		free(part->vps[i]);
	}
	free(part);
}

static int fake_map(struct partition *part, gpa_t gpa, uint64_t bytes, void *hva,
		    unsigned int access)
{
	return 0;
}

static int fake_create_vp(struct partition *part, unsigned int index, struct vp **ret_vp)
{
	struct fake_vp *vp = calloc(1, sizeof(*vp) + 64);

	pthread_mutex_init(&vp->lock, NULL);
	pthread_cond_init(&vp->wake, NULL);
	live_vps++;
	*ret_vp = &vp->vp;
	return 0;
}

static void wait_for_cancel(struct fake_vp *vp, struct vp_exit *exit)
{
	pthread_mutex_lock(&vp->lock);
	while (!vp->cancelled)
		pthread_cond_wait(&vp->wake, &vp->lock);
	vp->cancelled = false;
	pthread_mutex_unlock(&vp->lock);
	exit->reason = VP_EXIT_CANCELLED;
}

static int fake_run(struct vp *base, struct vp_exit *exit)
{
	struct fake_vp *vp = (struct fake_vp *)base;

	running++;
	if (exit->reason == VP_EXIT_MSR && vp->step &&
	    exit->msr.fault != (exit->msr.index >> 28 == 4))
		wrong_answers++;
	if (base->index || script[vp->step].reason == FAKE_WAIT)
		wait_for_cancel(vp, exit);
	else
		*exit = script[vp->step++];
	running--;
	return 0;
}

static void fake_cancel(struct vp *base)
{
	struct fake_vp *vp = (struct fake_vp *)base;

	pthread_mutex_lock(&vp->lock);
	vp->cancelled = true;
	pthread_cond_signal(&vp->wake);
	pthread_mutex_unlock(&vp->lock);
}

static int fake_get_state(struct vp *vp, struct vp_state *ret_state)
{
	memset(ret_state, 0, sizeof(*ret_state));
	return 0;
}

static int fake_set_state(struct vp *vp, const struct vp_state *state)
{
	return 0;
}

static int fake_send_msi(struct partition *part, const struct msi *msi)
{
	return 0;
}

static int fake_set_extint(struct partition *part, bool asserted)
{
	return 0;
}

static int fake_set_routes(struct partition *part, const struct msi *routes, size_t count)
{
	return 0;
}

/* No VP may be inside vp_run(), from the stop until the start. */
static int fake_stop_time(struct partition *part)
{
	stops++;
	time_errors += running != 0;
	return 0;
}

static int fake_start_time(struct partition *part)
{
	starts++;
	time_errors += running != 0;
	return 0;
}

static size_t fake_stats(struct partition *part, struct partition_stat *stats, size_t max)
{
	stats[0] = (struct partition_stat){"boots", boots};
	return 1;
}

static const struct partition_ops fake_ops = {
	.create = fake_create,
	.destroy = fake_destroy,
	.map_gpa = fake_map,
	.create_vp = fake_create_vp,
	.vp_run = fake_run,
	.vp_cancel = fake_cancel,
	.vp_get_state = fake_get_state,
	.vp_set_state = fake_set_state,
	.send_msi = fake_send_msi,
	.set_extint = fake_set_extint,
	.set_ioapic_routes = fake_set_routes,
	.stop_time = fake_stop_time,
	.start_time = fake_start_time,
	.get_stats = fake_stats,
};

static void probe_yes(struct engine_probe *probe)
{
	*probe = (struct engine_probe){.usable = true, .code = "ok", .why = "it always works"};
}

static void probe_no(struct engine_probe *probe)
{
	*probe = (struct engine_probe){.code = "no-device", .why = "there is no device"};
}

static size_t fake_cpuid(struct cpuid_leaf leaves[PARTITION_MAX_CPUID])
{
	leaves[0] = (struct cpuid_leaf){.leaf = 0, .eax = 0xd};
	leaves[1] = (struct cpuid_leaf){.leaf = 1};
	return 2;
}

static const struct engine fake_engine = {"fake", "an engine for tests", probe_yes, fake_cpuid,
					  &fake_ops};
static const struct engine broken_engine = {"broken", "never there", probe_no, fake_cpuid, NULL};

/* --- runs --- */

static struct vm_config config_for(struct loop *loop)
{
	static const uint32_t kernel[2048] = {MULTIBOOT_HEADER_MAGIC,
					      MULTIBOOT_AOUT_KLUDGE,
					      -(MULTIBOOT_HEADER_MAGIC + MULTIBOOT_AOUT_KLUDGE),
					      0x100000,
					      0x100000,
					      0,
					      0,
					      0x100020};

	return (struct vm_config){.engine = &fake_engine,
				  .loop = loop,
				  .memory_bytes = 4 * MIB,
				  .vp_count = 3,
				  .command_line = "",
				  .kernel = {"k", (const uint8_t *)kernel, sizeof(kernel)},
				  .has_debug_exit = true,
				  .debug_exit_port = 0xf4};
}

static struct vm_result run_script(const struct vp_exit *steps, bool no_reboot)
{
	struct vm_result result = {};
	struct vm_error error = {};
	struct vm_config config;
	struct loop *loop;
	struct vm *vm;

	script = steps;
	boots = 0;
	wrong_answers = 0;
	assert_int_equal(loop_new(&loop), 0);
	config = config_for(loop);
	config.no_reboot = no_reboot;
	assert_int_equal(vm_new(&config, &vm), 0);
	if (vm_run(vm, &result, &error) < 0)
		fail_msg("%s", error.text);
	vm_free(vm);
	loop_free(loop);
	assert_int_equal(live_vps, 0);
	assert_int_equal(wrong_answers, 0);
	return result;
}

static const struct vp_exit debug_exit[] = {
	{.reason = VP_EXIT_MMIO, .mmio = {0xd0000000, 4, false, 0}},
	{.reason = VP_EXIT_MSR, .msr = {.index = 0x40000000}},
	{.reason = VP_EXIT_MSR, .msr = {.index = 0x12345}},
	{.reason = VP_EXIT_CANCELLED},
	{.reason = VP_EXIT_EOI, .eoi = {0x30}},
	{.reason = VP_EXIT_PIO, .pio = {0xf4, 1, true, 0x21}},
	{.reason = FAKE_WAIT},
};
static const struct vp_exit reset[] = {
	{.reason = VP_EXIT_PIO, .pio = {PORT_RESET, 1, true, 2}},
	{.reason = VP_EXIT_PIO, .pio = {PORT_RESET, 1, true, 6}},
	{.reason = FAKE_WAIT},
};
static const struct vp_exit triple_fault[] = {
	{.reason = VP_EXIT_SHUTDOWN, .shutdown = {0xffff1234, 0x5678, 14, 2}},
	{.reason = FAKE_WAIT},
};
static const struct vp_exit unknown_fault[] = {
	{.reason = VP_EXIT_SHUTDOWN, .shutdown = {0x10, 0, 0xff, 0}},
	{.reason = FAKE_WAIT},
};
static const struct vp_exit engine_failure[] = {
	{.reason = VP_EXIT_FAILED, .failed = {.why = "out of ideas", .rip = 0x1000}},
	{.reason = FAKE_WAIT},
};

static void each_end_of_a_guest_is_reported_as_what_it_is(void **state)
{
	static const struct {
		const struct vp_exit *script;
		enum vm_outcome outcome;
		uint32_t value;
		const char *text;
	} cases[] = {
		{power_off, VM_POWERED_OFF, 0, "powered off"},
		{debug_exit, VM_DEBUG_EXIT, 0x21, "0x21"},
		{reset, VM_RESET, 0, "reset"},
		{triple_fault, VM_CRASHED, 0,
		 "VP 0 triple fault at RIP 0xffff1234, CR2 0x5678, last exception #PF (14) error "
		 "0x2"},
		{unknown_fault, VM_CRASHED, 0, "RIP 0x10, CR2 0, last exception unknown"},
		{engine_failure, VM_FAILED, 0, "VP 0 at RIP 0x1000: out of ideas"},
	};

	reset_boots = 0;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vm_result result = run_script(cases[i].script, true);

		if (result.outcome != cases[i].outcome || result.value != cases[i].value ||
		    !strstr(result.text, cases[i].text))
			fail_msg("case %zu: outcome %d, \"%s\"", i, result.outcome, result.text);
		assert_int_equal(boots, 1);
		assert_int_equal(result.stat_count, 1);
	}
}

static void a_reset_boots_again_until_the_guest_powers_off(void **state)
{
	struct vm_result result;

	reset_boots = 3;
	result = run_script(reset, false);
	assert_int_equal(result.outcome, VM_POWERED_OFF);
	assert_int_equal(boots, 4);
	reset_boots = 0;
}

static void *stop_later(void *ctx)
{
	usleep(120000);
	vm_stop(ctx);
	return NULL;
}

static void a_run_can_be_stopped_whatever_the_guest_does(void **state)
{
	static const struct vp_exit idle[] = {{.reason = FAKE_WAIT}};
	static const struct vp_exit *const scripts[] = {idle, reset};

	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		struct vm_result result;
		struct vm_error error;
		struct vm_config config;
		struct loop *loop;
		struct vm *vm;
		pthread_t thread;

		script = scripts[i];
		assert_int_equal(loop_new(&loop), 0);
		config = config_for(loop);
		assert_int_equal(vm_new(&config, &vm), 0);
		pthread_create(&thread, NULL, stop_later, vm);
		assert_int_equal(vm_run(vm, &result, &error), 0);
		assert_int_equal(result.outcome, VM_STOPPED);
		pthread_join(thread, NULL);
		vm_free(vm);
		loop_free(loop);
	}
	assert_int_equal(live_vps, 0);
}

/* A user who pauses and resumes from the loop's thread, a step whenever what it waits for is so. */
struct pauser {
	struct vm *vm;
	struct loop_timer *timer;
	unsigned int turn;
	bool paused;
};
#define PAUSES 30

static void pause_step(void *ctx)
{
	struct pauser *pauser = ctx;
	struct vm *vm = pauser->vm;

	if (!pauser->paused && running == 3) {
		vm_pause(vm);
		if (pauser->turn % 3 == 1) { /* a pause that is over at once, and another */
			vm_resume(vm);
			vm_pause(vm);
		}
		pauser->paused = true;
	} else if (pauser->paused && stops > starts) {
		if (running || vm->parked != 3)
			time_errors++;
		if (++pauser->turn == PAUSES) {
			vm_stop(vm);
			return;
		}
		vm_resume(vm);
		pauser->paused = false;
	}
	loop_timer_arm_ns(pauser->timer, monotonic_ns() + 100000);
}

static void time_stands_still_while_no_vp_runs(void **state)
{
	static const struct vp_exit idle[] = {{.reason = FAKE_WAIT}};
	struct pauser pauser = {};
	struct vm_result result;
	struct vm_error error;
	struct vm_config config;
	struct loop *loop;

	script = idle;
	stops = starts = 0;
	assert_int_equal(loop_new(&loop), 0);
	config = config_for(loop);
	assert_int_equal(vm_new(&config, &pauser.vm), 0);
	assert_int_equal(loop_timer_new(loop, pause_step, &pauser, &pauser.timer), 0);
	loop_timer_arm_ns(pauser.timer, monotonic_ns());
	assert_int_equal(vm_run(pauser.vm, &result, &error), 0);
	assert_int_equal(result.outcome, VM_STOPPED);
	assert_int_equal(stops, PAUSES);
	assert_int_equal(starts, PAUSES - 1); /* the last one ended with the run */
	assert_int_equal(time_errors, 0);
	loop_timer_free(pauser.timer);
	vm_free(pauser.vm);
	loop_free(loop);
	assert_int_equal(live_vps, 0);
}

static void what_cannot_start_names_the_input_to_blame(void **state)
{
	struct vm_result result;
	struct vm_error error;
	struct loop *loop;
	struct vm *vm;

	assert_int_equal(loop_new(&loop), 0);
	for (int i = 0; i < 2; i++) {
		struct vm_config config = config_for(loop);

		if (i)
			config.debug_exit_port = 0x3f8;
		else
			config.kernel = (struct boot_file){"k", (const uint8_t *)"text", 4};
		assert_int_equal(vm_new(&config, &vm), 0);
		assert_true(vm_run(vm, &result, &error) < 0);
		assert_int_equal(error.blame, i ? BLAME_DEBUG_EXIT : BLAME_KERNEL);
		vm_free(vm);
	}
	loop_free(loop);
	assert_int_equal(live_vps, 0);
}

/* --- the choice --- */

static void auto_takes_the_first_usable_engine_and_says_why(void **state)
{
	static const struct engine *const both[] = {&broken_engine, &fake_engine, NULL};
	static const struct engine *const one[] = {&fake_engine, NULL};
	static const struct engine *const none[] = {&broken_engine, NULL};
	struct engine_choice choice;

	assert_int_equal(engine_choose(both, "auto", &choice), 0);
	assert_ptr_equal(choice.engine, &fake_engine);
	assert_string_equal(choice.what, "engine fake: an engine for tests");
	assert_string_equal(choice.why, "broken is not usable here: there is no device");
	assert_int_equal(engine_choose(one, "auto", &choice), 0);
	assert_string_equal(choice.why, "it always works");
	assert_int_equal(engine_choose(none, "auto", &choice), -ENODEV);
	assert_non_null(strstr(choice.why, "there is no device"));
}

static void a_name_takes_that_engine_usable_or_not(void **state)
{
	static const struct engine *const table[] = {&fake_engine, &broken_engine, NULL};
	struct engine_choice choice;

	assert_int_equal(engine_choose(table, "broken", &choice), 0);
	assert_false(choice.usable);
	assert_string_equal(choice.code, "no-device");
	assert_int_equal(engine_choose(table, "warp", &choice), -ENOENT);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_end_of_a_guest_is_reported_as_what_it_is),
		cmocka_unit_test(a_reset_boots_again_until_the_guest_powers_off),
		cmocka_unit_test(a_run_can_be_stopped_whatever_the_guest_does),
		cmocka_unit_test(time_stands_still_while_no_vp_runs),
		cmocka_unit_test(what_cannot_start_names_the_input_to_blame),
		cmocka_unit_test(auto_takes_the_first_usable_engine_and_says_why),
		cmocka_unit_test(a_name_takes_that_engine_usable_or_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
