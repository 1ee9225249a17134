/*
 * hv_fuzz.c - any bytes as what a guest and its host do: MSRs, hypercalls, memory, posts, timers
 *
 * The first byte takes services away. Then come steps: a byte that chooses one, a VP, and what the
 * step eats. An eaten number is small, any, or an address in RAM. The rig's checks apply, and after
 * each step all that was written to RAM must have been announced. A rep call that succeeds must
 * have made progress, or else a guest would repeat it for ever.
 */
#include "test_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct food {
	const uint8_t *at, *end;
};

static uint64_t eat(struct food *food, size_t bytes)
{
	uint64_t value = 0;

	bytes = MIN(bytes, (size_t)(food->end - food->at));
	memcpy(&value, food->at, bytes);
	food->at += bytes;
	return value;
}

static uint64_t eat_number(struct food *food)
{
	uint8_t kind = eat(food, 1);

	switch (kind % 4) {
	case 0: return kind / 4;
	case 1: return eat(food, 8);
	case 2: return RIG_PAGE(kind / 4 % (RIG_PAGES + 1)) + eat(food, 2) % PAGE_BYTES;
	default: return RIG_PAGE(kind / 4 % RIG_PAGES) | HV_PAGE_ENABLE;
	}
}

static void read_msr(struct rig *rig, unsigned int vp, struct food *food)
{
	uint64_t value;

	hv_read_msr(rig->hv, vp, HV_MSR_FIRST + eat(food, 2) % 0x2000, &value);
}

static void write_msr(struct rig *rig, unsigned int vp, struct food *food)
{
	uint32_t index = HV_MSR_FIRST + eat(food, 2) % 0x200;

	hv_write_msr(rig->hv, vp, index, eat_number(food), index & 1);
}

static void write_synic_or_timer(struct rig *rig, unsigned int vp, struct food *food)
{
	uint32_t index = HV_MSR_SCONTROL + eat(food, 1) % 0x38;

	hv_write_msr(rig->hv, vp, index, eat_number(food), true);
}

static void put(struct rig *rig, unsigned int vp, struct food *food)
{
	gpa_t page = RIG_PAGE(eat(food, 1) % RIG_PAGES);
	gpa_t gpa = page + eat(food, 2) % (PAGE_BYTES - 64);
	size_t bytes = eat(food, 1) % 64;

	bytes = MIN(bytes, (size_t)(food->end - food->at));
	if (bytes)
		rig_put(rig, gpa, food->at, bytes);
	food->at += bytes;
}

static void check_result(uint64_t control, uint64_t result)
{
	unsigned int completed = HV_CONTROL_COUNT(result), count = HV_CONTROL_COUNT(control);

	if (result & ~0xfff0000ffffull || completed > count ||
	    (!(result & 0xffff) && count && completed <= HV_CONTROL_START(control))) {
		fprintf(stderr, "control %#lx, result %#lx\n", control, result);
		abort();
	}
}

static uint64_t eat_control(struct food *food)
{
	static const uint16_t codes[] = {0x02, 0x03, 0x08, 0x0b, 0x13,	 0x14,	0x15,
					 0x46, 0x50, 0x5c, 0x5d, 0x8001, 0x8003};
	uint8_t code = eat(food, 1), fields = eat(food, 1);
	uint64_t control = codes[code % ARRAY_SIZE(codes)];

	if (fields & 1)
		control |= HV_CONTROL_FAST;
	if (fields & 2)
		control |= (eat(food, 2) & 0x3ff) << HV_CONTROL_VARIABLE_SHIFT;
	if (fields & 4)
		control |= (eat(food, 2) & 0xfff) << HV_CONTROL_COUNT_SHIFT;
	if (fields & 8)
		control |= (eat(food, 2) & 0xfff) << HV_CONTROL_START_SHIFT;
	if (fields & 16)
		control ^= eat(food, 8);
	return control;
}

static void call(struct rig *rig, unsigned int vp, struct food *food)
{
	uint64_t control = eat_control(food), input = eat_number(food), output = eat_number(food);
	struct hv_hypercall_registers registers = {
		.long_mode = true, .rcx = control, .rdx = input, .r8 = output};

	if (hv_hypercall(rig->hv, vp, &registers))
		check_result(control, registers.rax);
}

static void call_without_long_mode(struct rig *rig, unsigned int vp, struct food *food)
{
	uint64_t control = eat_control(food), input = eat_number(food), output = eat_number(food);
	struct hv_hypercall_registers registers = {.rax = (uint32_t)control,
						   .rdx = control >> 32,
						   .rcx = (uint32_t)input,
						   .rbx = input >> 32,
						   .rsi = (uint32_t)output,
						   .rdi = output >> 32};

	if (hv_hypercall(rig->hv, vp, &registers))
		check_result(control, registers.rdx << 32 | registers.rax);
}

static void post(struct rig *rig, unsigned int vp, struct food *food)
{
	uint8_t payload[256];
	uint32_t bytes = eat(food, 1);
	unsigned int sint = eat(food, 1);

	memset(payload, bytes, sizeof(payload));
	hv_post_message(rig->hv, vp, sint, eat(food, 1), payload, bytes);
}

static void signal_flag(struct rig *rig, unsigned int vp, struct food *food)
{
	unsigned int sint = eat(food, 1);

	hv_signal_flag(rig->hv, vp, sint, eat(food, 2));
}

static void advance(struct rig *rig, unsigned int vp, struct food *food)
{
	rig_advance(rig, eat(food, 2));
}

static void expire(struct rig *rig, unsigned int vp, struct food *food)
{
	hv_timer_expired(rig->hv, vp, eat(food, 1));
}

static void jump(struct rig *rig, unsigned int vp, struct food *food)
{
	switch (eat(food, 1) % 3) {
	case 0: hv_set_reference_time(rig->hv, eat_number(food)); break;
	case 1: atomic_fetch_add(&rig->tsc, eat_number(food)); break;
	default: hv_reset(rig->hv); break;
	}
}

static void take_message(struct rig *rig, unsigned int vp, struct food *food)
{
	gpa_t page = RIG_PAGE(eat(food, 1) % RIG_PAGES);
	uint32_t zero = 0;

	rig_put(rig, page + eat(food, 1) % 16 * sizeof(struct hv_message), &zero, sizeof(zero));
	hv_write_msr(rig->hv, vp, HV_MSR_EOM, 0, true);
}

static void enable_synic(struct rig *rig, unsigned int vp, struct food *food)
{
	rig_enable_synic(rig, vp);
}

static void (*const steps[])(struct rig *, unsigned int, struct food *) = {
	read_msr,     write_msr,   write_synic_or_timer,
	put,	      call,	   call_without_long_mode,
	post,	      signal_flag, advance,
	expire,	      jump,	   take_message,
	enable_synic,
};

static struct rig *start(uint8_t without)
{
	struct rig *rig = rig_alloc();
	struct hv_config config = rig_config(rig);

	config.synthetic_timers = !(without & 1);
	config.tsc_invariant = !(without & 2);
	if (without & 4)
		config.services.get_xmm = NULL;
	if (without & 8)
		config.services.flush_tlb = NULL;
	if (without & 16)
		config.services.yield = NULL;
	rig_start(rig, &config);
	return rig;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct food food = {data, data + size};
	struct rig *rig = start(eat(&food, 1));

	for (unsigned int i = 0; food.at < food.end && i < MAX_STEPS; i++) {
		uint8_t choice = eat(&food, 1);

		steps[choice % ARRAY_SIZE(steps)](rig, choice / 16 % RIG_VPS, &food);
		rig_check_announced(rig);
	}
	rig_free(rig);
	return 0;
}
