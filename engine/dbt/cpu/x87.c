/*
 * x87.c - x87 state to and from memory: FNSTENV, FLDENV, FNSAVE, FRSTOR, FXSAVE, FXRSTOR
 *
 * Light code: the guest's x87 state is in the host's registers, so each is the host's own
 * instruction on a private image, with the pointers exchanged on the way (x87.h). What is loaded
 * was copied and checked before, so nothing here faults on the host; an error that is pending
 * already is found by looking. A store that fails puts the state back.
 */
#include "control_bits.h"
#include "operand.h"
#include "x87.h"

#define ENVIRONMENT_BYTES 28u /* the host's format: 32-bit, protected mode */
#define REGISTER_BYTES	  80u
#define OPCODE_MASK	  0x7ffu
#define FSW_ES		  0x80u
#define FXSAVE_BYTES	  512u
#define FXSAVE_WRITTEN	  416u /* the rest is software's */
#define FXSAVE_WRITTEN32  288u /* without XMM8 to XMM15 */
#define FXSAVE_MXCSR	  24

struct environment {
	uint16_t control, unused0, status, unused1, tags, unused2;
	uint32_t ip;
	uint16_t cs, opcode;
	uint32_t dp;
	uint16_t ds, unused3;
};
struct x87_image {
	struct environment env;
	uint8_t registers[REGISTER_BYTES];
};
static_assert(sizeof(struct environment) == ENVIRONMENT_BYTES, "the host's format");
static_assert(sizeof(struct x87_image) == ENVIRONMENT_BYTES + REGISTER_BYTES, "the host's format");

/* --- environments as the guest's mode and operand size have them --- */

static bool in_real_format(const struct dbt_vp *vp)
{
	return !(vp->mode & MODE_PROTECTED);
}

static void put16(uint8_t *to, uint16_t value)
{
	__builtin_memcpy(to, &value, 2);
}
static void put32(uint8_t *to, uint32_t value)
{
	__builtin_memcpy(to, &value, 4);
}
static uint32_t get16(const uint8_t *from)
{
	uint16_t value;

	__builtin_memcpy(&value, from, 2);
	return value;
}
static uint32_t get32(const uint8_t *from)
{
	uint32_t value;

	__builtin_memcpy(&value, from, 4);
	return value;
}

/* SDM vol. 1, figures "... x87 FPU State Image in Memory": 28 or 14 bytes, protected or real. */
static void put_pointers32(uint8_t *to, const struct x87_pointers *p, bool real)
{
	uint32_t ip = p->ip + ((uint32_t)p->cs << 4), dp = p->dp + ((uint32_t)p->ds << 4);

	put32(to, real ? ip & 0xffff : p->ip);
	put32(to + 4, real ? ip >> 16 << 12 | p->opcode : p->cs | (uint32_t)p->opcode << 16);
	put32(to + 8, real ? dp & 0xffff : p->dp);
	put32(to + 12, real ? dp >> 16 << 12 : p->ds);
}
static void put_pointers16(uint8_t *to, const struct x87_pointers *p, bool real)
{
	uint32_t ip = p->ip + ((uint32_t)p->cs << 4), dp = p->dp + ((uint32_t)p->ds << 4);

	put16(to, real ? ip : p->ip);
	put16(to + 2, real ? (ip >> 16 & 0xf) << 12 | p->opcode : p->cs);
	put16(to + 4, real ? dp : p->dp);
	put16(to + 6, real ? (dp >> 16 & 0xf) << 12 : p->ds);
}
static struct x87_pointers get_pointers32(const uint8_t *from, bool real)
{
	uint32_t first = get32(from + 4), second = get32(from + 12);

	if (real)
		return (struct x87_pointers){.ip = get16(from) | (first >> 12) << 16,
					     .dp = get16(from + 8) | (second >> 12 & 0xffff) << 16,
					     .opcode = first & OPCODE_MASK};
	return (struct x87_pointers){.ip = get32(from),
				     .dp = get32(from + 8),
				     .cs = first,
				     .ds = second,
				     .opcode = first >> 16 & OPCODE_MASK};
}
static struct x87_pointers get_pointers16(const uint8_t *from, bool real)
{
	uint32_t first = get16(from + 2), second = get16(from + 6);

	if (real)
		return (struct x87_pointers){.ip = get16(from) | (first >> 12) << 16,
					     .dp = get16(from + 4) | (second >> 12) << 16,
					     .opcode = first & OPCODE_MASK};
	return (struct x87_pointers){
		.ip = get16(from), .dp = get16(from + 4), .cs = first, .ds = second};
}

static uint32_t environment_bytes(struct cpu_args args)
{
	return args.op_bytes == 2 ? ENVIRONMENT_BYTES / 2 : ENVIRONMENT_BYTES;
}

/* Reserved words are ones, as the host writes them. */
static void environment_put(struct dbt_vp *vp, struct cpu_args args, const struct environment *env,
			    uint8_t *to)
{
	struct x87_pointers pointers = x87_pointers_shown(vp, env->ip);
	const uint16_t words[] = {env->control, env->status, env->tags};
	bool real = in_real_format(vp);

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		if (args.op_bytes == 2)
			put16(to + 2 * i, words[i]);
		else
			put32(to + 4 * i, 0xffff0000 | words[i]);
	}
	if (args.op_bytes == 2)
		put_pointers16(to + 6, &pointers, real);
	else
		put_pointers32(to + 12, &pointers, real);
	if (args.op_bytes != 2 && !real)
		put16(to + 26, 0xffff);
}

static void environment_get(struct dbt_vp *vp, struct cpu_args args, const uint8_t *from,
			    struct environment *ret_env)
{
	unsigned int step = args.op_bytes == 2 ? 2 : 4;
	bool real = in_real_format(vp);
	struct x87_pointers pointers =
		step == 2 ? get_pointers16(from + 6, real) : get_pointers32(from + 12, real);

	*ret_env = (struct environment){.control = get16(from),
					.status = get16(from + step),
					.tags = get16(from + 2 * step)};
	ret_env->ip = x87_pointers_take(vp, &pointers);
}

/* --- FNSTENV, FLDENV, FNSAVE, FRSTOR --- */

/* FLDENV and FRSTOR report a pending error first. */
static bool error_pending(void)
{
	uint16_t status;

	__asm__ volatile("fnstsw %0" : "=m"(status));
	return status & FSW_ES;
}

/* FNSTENV masks all errors; that is undone when the store faults. */
enum cpu_result helper_fnstenv(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint8_t image[ENVIRONMENT_BYTES];
	struct environment env;
	int r;

	__asm__ volatile("fnstenv %0" : "=m"(env));
	environment_put(vp, args, &env, image);
	r = mmu_write(vp, address, image, environment_bytes(args), ACCESS_WRITE);
	if (r < 0)
		__asm__ volatile("fldenv %0" : : "m"(env));
	return write_result(vp, r);
}

enum cpu_result helper_fldenv(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint8_t image[ENVIRONMENT_BYTES];
	struct environment env;

	if (error_pending())
		return cpu_fault(vp, VEC_MF);
	if (mmu_read(vp, address, image, environment_bytes(args), ACCESS_READ) < 0)
		return CPU_RESTART;
	environment_get(vp, args, image, &env);
	__asm__ volatile("fldenv %0" : : "m"(env));
	return CPU_DONE;
}

static void copy_registers(uint8_t *to, const uint8_t *from)
{
	for (unsigned int i = 0; i < REGISTER_BYTES; i += 8)
		__builtin_memcpy(to + i, from + i, 8);
}

enum cpu_result helper_fnsave(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint8_t image[sizeof(struct x87_image)];
	uint32_t head = environment_bytes(args);
	struct x87_image state;
	int r;

	__asm__ volatile("fnsave %0" : "=m"(state));
	environment_put(vp, args, &state.env, image);
	copy_registers(image + head, state.registers);
	r = mmu_write(vp, address, image, head + REGISTER_BYTES, ACCESS_WRITE);
	if (r < 0)
		__asm__ volatile("frstor %0" : : "m"(state));
	return write_result(vp, r);
}

enum cpu_result helper_frstor(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint8_t image[sizeof(struct x87_image)];
	uint32_t head = environment_bytes(args);
	struct x87_image state;

	if (error_pending())
		return cpu_fault(vp, VEC_MF);
	if (mmu_read(vp, address, image, head + REGISTER_BYTES, ACCESS_READ) < 0)
		return CPU_RESTART;
	environment_get(vp, args, image, &state.env);
	copy_registers(state.registers, image + head);
	__asm__ volatile("frstor %0" : : "m"(state));
	return CPU_DONE;
}

/* --- FXSAVE, FXRSTOR --- */

static bool misaligned(struct dbt_vp *vp, uint64_t address)
{
	if (IS_ALIGNED(address, 16))
		return false;
	vp_raise_error(vp, VEC_GP, 0);
	return true;
}

static void host_fxsave(uint8_t *image, bool wide)
{
	if (wide)
		__asm__ volatile("fxsave64 (%0)" : : "r"(image) : "memory");
	else
		__asm__ volatile("fxsave (%0)" : : "r"(image) : "memory");
}

enum cpu_result helper_fxsave(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint8_t image[FXSAVE_BYTES] __attribute__((aligned(16)));
	bool wide = args.op_bytes == 8;

	if (misaligned(vp, address))
		return CPU_RESTART;
	host_fxsave(image, wide);
	x87_show(vp, image, wide);
	return write_result(vp, mmu_write(vp, address, image,
					  is_code64(vp) ? FXSAVE_WRITTEN : FXSAVE_WRITTEN32,
					  ACCESS_WRITE));
}

static uint32_t mxcsr_known(void)
{
	uint8_t image[FXSAVE_BYTES] __attribute__((aligned(16)));
	uint32_t mask;

	host_fxsave(image, false);
	mask = get32(image + FXSAVE_MXCSR + 4);
	return mask ? mask : 0xffbf;
}

/* In 32-bit code XMM8 to XMM15 stay as they are; nothing there can see them, but 64-bit code may
 * later. */
enum cpu_result helper_fxrstor(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint8_t image[FXSAVE_BYTES] __attribute__((aligned(16)));
	bool wide = args.op_bytes == 8;
	uint32_t bytes = is_code64(vp) ? FXSAVE_WRITTEN : FXSAVE_WRITTEN32, mxcsr;

	if (misaligned(vp, address))
		return CPU_RESTART;
	host_fxsave(image, wide);
	if (mmu_read(vp, address, image, bytes, ACCESS_READ) < 0)
		return CPU_RESTART;
	mxcsr = get32(image + FXSAVE_MXCSR);
	if (mxcsr >> 16 && (mxcsr & ~mxcsr_known()))
		return cpu_fault_gp(vp);
	x87_take(vp, image, wide);
	if (wide)
		__asm__ volatile("fxrstor64 (%0)" : : "r"(image) : "memory");
	else
		__asm__ volatile("fxrstor (%0)" : : "r"(image) : "memory");
	return CPU_DONE;
}
