/*
 * rtc.c - the MC146818: time of day in UTC, alarm, periodic and update-ended interrupts
 *
 * The guest's time is the host's UTC plus offset_ns; setting the clock changes the offset. While
 * the SET bit holds updates off, the time stands in the registers; clearing it starts the clock
 * from them. Otherwise the registers are filled from the time when they are read.
 *
 * Flags are not made by a tick: catch_up() works out which events happened since seen_ns (in
 * guest time). A timer is armed only for an event that is enabled and whose flag is still clear,
 * so a guest that does not read register C cannot keep the host busy.
 *
 * The time and the memory have a battery: reset leaves them alone.
 */
#include "rtc.h"

#include <errno.h>

#include "pc.h"

#define NS_PER_SECOND	1000000000u
#define SECONDS_PER_DAY 86400u
#define LAST_YEAR	2261 /* nanoseconds since 1970 fit a signed 64-bit number until 2262 */
#define LAST_SECOND	9214646399ull /* of that year */

/* The update cycle before each second: flagged for 244 us, then 1984 us long. */
#define UPDATE_NS (1984000u + 244000u)

enum {
	REG_SECOND,
	REG_SECOND_ALARM,
	REG_MINUTE,
	REG_MINUTE_ALARM,
	REG_HOUR,
	REG_HOUR_ALARM,
	REG_WEEKDAY,
	REG_DAY,
	REG_MONTH,
	REG_YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D,
	REG_CENTURY = 0x32
};
#define A_UIP	      0x80
#define A_DIVIDER     0x70
#define A_DIVIDER_RUN 0x20
#define A_RATE	      0x0f
#define B_SET	      0x80
#define B_PIE	      0x40
#define B_AIE	      0x20
#define B_UIE	      0x10
#define B_BINARY      0x04
#define B_24_HOURS    0x02
#define C_IRQF	      0x80
#define C_PF	      0x40
#define C_AF	      0x20
#define C_UF	      0x10
#define C_EVENTS      (C_PF | C_AF | C_UF) /* the same bits as their enables in B */
#define D_VALID	      0x80
#define HOUR_PM	      0x80
#define ALARM_ANY     0xc0 /* both bits set: matches all */

struct rtc {
	struct device dev;
	/* services */
	struct chipset_timer *timer;
	/* state */
	uint8_t cmos[128]; /* the time's registers are current only while B_SET */
	uint8_t index;
	int64_t offset_ns; /* guest time - host UTC */
	uint64_t seen_ns;  /* guest time up to which events are in register C */
};

struct moment {
	unsigned int second, minute, hour, weekday, day, month, year; /* weekday 1..7, Sunday 1 */
};

static struct rtc *to_rtc(struct device *dev)
{
	return (struct rtc *)dev;
}

/* --- calendar (days since 1970, proleptic Gregorian; from 1970 on) --- */

/* Days from 1 March of year 0 make leap days the last of their year. */
static uint64_t days_of(unsigned int year, unsigned int month, unsigned int day)
{
	uint64_t y = month <= 2 ? year - 1 : year, m = month <= 2 ? month + 9 : month - 3;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

static struct moment moment_of(uint64_t seconds)
{
	uint64_t days = seconds / SECONDS_PER_DAY, z = days + 719468, era = z / 146097;
	uint64_t doe = z % 146097, yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), m = (5 * doy + 2) / 153;
	struct moment t = {
		.second = seconds % 60,
		.minute = seconds / 60 % 60,
		.hour = seconds / 3600 % 24,
		.weekday = (unsigned int)((days + 4) % 7 + 1),
		.day = (unsigned int)(doy - (153 * m + 2) / 5 + 1),
		.month = (unsigned int)(m < 10 ? m + 3 : m - 9),
	};

	t.year = (unsigned int)(yoe + era * 400 + (t.month <= 2));
	return t;
}

static uint64_t seconds_of(const struct moment *t)
{
	return days_of(t->year, t->month, t->day) * SECONDS_PER_DAY + t->hour * 3600u +
	       t->minute * 60u + t->second;
}

/* --- register formats --- */

static uint8_t encode(const struct rtc *rtc, unsigned int value)
{
	if (rtc->cmos[REG_B] & B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

static unsigned int decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 15);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned int hour)
{
	if (rtc->cmos[REG_B] & B_24_HOURS)
		return encode(rtc, hour);
	return encode(rtc, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned int decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REG_B] & B_24_HOURS)
		return decode(rtc, value);
	return decode(rtc, value & ~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* Guest time now, from 1970 on. */
static uint64_t guest_ns(const struct rtc *rtc)
{
	__int128 ns = (__int128)device_utc_ns(&rtc->dev) + rtc->offset_ns;

	if (ns < 0)
		return 0;
	return (uint64_t)MIN(ns, (__int128)INT64_MAX);
}

static void fill_registers(struct rtc *rtc, uint64_t seconds)
{
	struct moment t = moment_of(MIN(seconds, LAST_SECOND));
	uint8_t *cmos = rtc->cmos;

	cmos[REG_SECOND] = encode(rtc, t.second);
	cmos[REG_MINUTE] = encode(rtc, t.minute);
	cmos[REG_HOUR] = encode_hour(rtc, t.hour);
	cmos[REG_WEEKDAY] = encode(rtc, t.weekday);
	cmos[REG_DAY] = encode(rtc, t.day);
	cmos[REG_MONTH] = encode(rtc, t.month);
	cmos[REG_YEAR] = encode(rtc, t.year % 100);
	cmos[REG_CENTURY] = (uint8_t)(t.year / 1000 % 10 << 4 | t.year / 100 % 10);
}

static unsigned int clamp(unsigned int value, unsigned int least, unsigned int most)
{
	return value < least ? least : value > most ? most : value;
}

/* The time in the registers, which may be nonsense: the nearest that is possible. */
static uint64_t registers_seconds(const struct rtc *rtc)
{
	const uint8_t *cmos = rtc->cmos;
	unsigned int century = (cmos[REG_CENTURY] >> 4) * 10u + (cmos[REG_CENTURY] & 15);
	struct moment t = {
		.second = clamp(decode(rtc, cmos[REG_SECOND]), 0, 59),
		.minute = clamp(decode(rtc, cmos[REG_MINUTE]), 0, 59),
		.hour = clamp(decode_hour(rtc, cmos[REG_HOUR]), 0, 23),
		.day = clamp(decode(rtc, cmos[REG_DAY]), 1, 31),
		.month = clamp(decode(rtc, cmos[REG_MONTH]), 1, 12),
		.year = clamp(century * 100 + clamp(decode(rtc, cmos[REG_YEAR]), 0, 99), 1970,
			      LAST_YEAR),
	};

	return MIN(seconds_of(&t), LAST_SECOND);
}

/* The guest's clock now shows @ns. */
static void set_time(struct rtc *rtc, uint64_t ns)
{
	rtc->offset_ns = (int64_t)(ns - device_utc_ns(&rtc->dev));
	rtc->seen_ns = ns;
}

/* --- events --- */

/* Length of the periodic interrupt's period, 0: off. */
static uint64_t period_ns(const struct rtc *rtc)
{
	unsigned int rate = rtc->cmos[REG_A] & A_RATE;

	if (!rate)
		return 0;
	if (rate < 3)
		rate += 7; /* 1 and 2 are 256 Hz and 128 Hz, as 8 and 9 */
	return ((uint64_t)NS_PER_SECOND << (rate - 1)) / 32768;
}

static bool updates_run(const struct rtc *rtc)
{
	return !(rtc->cmos[REG_B] & B_SET) && (rtc->cmos[REG_A] & A_DIVIDER) == A_DIVIDER_RUN;
}

static bool alarm_part_matches(uint8_t alarm, unsigned int decoded, unsigned int value)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || decoded == value;
}

/* Seconds from second-of-day @from (excluded) to the next alarm, 1..86400; 0: never. */
static unsigned int seconds_to_alarm(const struct rtc *rtc, unsigned int from)
{
	const uint8_t *cmos = rtc->cmos;
	unsigned int second = decode(rtc, cmos[REG_SECOND_ALARM]);
	unsigned int minute = decode(rtc, cmos[REG_MINUTE_ALARM]);
	unsigned int hour = decode_hour(rtc, cmos[REG_HOUR_ALARM]), ahead = 1;

	while (ahead <= SECONDS_PER_DAY) {
		unsigned int at = (from + ahead) % SECONDS_PER_DAY;

		if (!alarm_part_matches(cmos[REG_HOUR_ALARM], hour, at / 3600))
			ahead += 3600 - at % 3600;
		else if (!alarm_part_matches(cmos[REG_MINUTE_ALARM], minute, at / 60 % 60))
			ahead += 60 - at % 60;
		else if (!alarm_part_matches(cmos[REG_SECOND_ALARM], second, at % 60))
			ahead++;
		else
			return ahead;
	}
	return 0;
}

/* Guest time of the next alarm after @ns; UINT64_MAX: never. */
static uint64_t next_alarm_ns(const struct rtc *rtc, uint64_t ns)
{
	uint64_t second = ns / NS_PER_SECOND;
	unsigned int ahead = seconds_to_alarm(rtc, second % SECONDS_PER_DAY);

	return ahead ? (second + ahead) * NS_PER_SECOND : UINT64_MAX;
}

static uint64_t next_event_ns(const struct rtc *rtc, uint8_t event, uint64_t after_ns)
{
	uint64_t period;

	if (event == C_PF) {
		period = period_ns(rtc);
		return period ? (after_ns / period + 1) * period : UINT64_MAX;
	}
	if (!updates_run(rtc))
		return UINT64_MAX;
	if (event == C_AF)
		return next_alarm_ns(rtc, after_ns);
	return (after_ns / NS_PER_SECOND + 1) * NS_PER_SECOND;
}

static void update_line(struct rtc *rtc)
{
	bool asserted = rtc->cmos[REG_C] & rtc->cmos[REG_B] & C_EVENTS;

	rtc->cmos[REG_C] = (rtc->cmos[REG_C] & C_EVENTS) | (asserted ? C_IRQF : 0);
	device_set_irq(&rtc->dev, PC_GSI_RTC, asserted);
}

static void schedule(struct rtc *rtc)
{
	uint8_t waiting = rtc->cmos[REG_B] & ~rtc->cmos[REG_C] & C_EVENTS;
	uint64_t now_ns = guest_ns(rtc), due_ns = UINT64_MAX;

	for (uint8_t event = C_UF; event <= C_PF; event <<= 1) {
		if (waiting & event)
			due_ns = MIN(due_ns, next_event_ns(rtc, event, rtc->seen_ns));
	}
	if (due_ns == UINT64_MAX)
		chipset_timer_cancel(rtc->timer);
	else
		chipset_timer_arm(rtc->timer, device_now_ns(&rtc->dev) +
						      (due_ns > now_ns ? due_ns - now_ns : 0));
}

/* Bring register C up to date. */
static void catch_up(struct rtc *rtc)
{
	uint64_t now_ns = guest_ns(rtc);

	/* The host's clock was set back: begin again from there. */
	if (now_ns < rtc->seen_ns)
		rtc->seen_ns = now_ns;
	for (uint8_t event = C_UF; event <= C_PF; event <<= 1) {
		if (next_event_ns(rtc, event, rtc->seen_ns) <= now_ns)
			rtc->cmos[REG_C] |= event;
	}
	rtc->seen_ns = now_ns;
	update_line(rtc);
}

static void event_due(struct device *dev)
{
	catch_up(to_rtc(dev));
	schedule(to_rtc(dev));
}

/* --- registers --- */

static bool holds_time(uint8_t index)
{
	return index == REG_CENTURY || (index <= REG_YEAR && index != REG_SECOND_ALARM &&
					index != REG_MINUTE_ALARM && index != REG_HOUR_ALARM);
}

static uint8_t read_c(struct rtc *rtc)
{
	uint8_t value;

	catch_up(rtc);
	value = rtc->cmos[REG_C];
	rtc->cmos[REG_C] = 0;
	update_line(rtc);
	schedule(rtc);
	return value;
}

static uint8_t read_register(struct rtc *rtc, uint8_t index)
{
	uint64_t now_ns = guest_ns(rtc);

	if (index == REG_C)
		return read_c(rtc);
	if (index == REG_A && updates_run(rtc) &&
	    now_ns % NS_PER_SECOND >= NS_PER_SECOND - UPDATE_NS)
		return rtc->cmos[REG_A] | A_UIP;
	if (holds_time(index) && !(rtc->cmos[REG_B] & B_SET))
		fill_registers(rtc, now_ns / NS_PER_SECOND);
	return rtc->cmos[index];
}

static void write_b(struct rtc *rtc, uint8_t value)
{
	bool was_set = rtc->cmos[REG_B] & B_SET;

	if (!was_set && (value & B_SET)) {
		fill_registers(rtc, guest_ns(rtc) / NS_PER_SECOND);
		value &= ~B_UIE; /* as the data sheet has it */
	}
	rtc->cmos[REG_B] = value;
	if (was_set && !(value & B_SET))
		set_time(rtc, registers_seconds(rtc) * NS_PER_SECOND);
}

/* A time register is written: with SET it waits there, without it the clock goes on from it. */
static void write_time(struct rtc *rtc, uint8_t index, uint8_t value)
{
	uint64_t now_ns = guest_ns(rtc);

	if (rtc->cmos[REG_B] & B_SET) {
		rtc->cmos[index] = value;
		return;
	}
	fill_registers(rtc, now_ns / NS_PER_SECOND);
	rtc->cmos[index] = value;
	set_time(rtc, registers_seconds(rtc) * NS_PER_SECOND + now_ns % NS_PER_SECOND);
}

static void write_register(struct rtc *rtc, uint8_t index, uint8_t value)
{
	if (index == REG_C || index == REG_D)
		return;
	catch_up(rtc); /* by the old settings */
	if (holds_time(index))
		write_time(rtc, index, value);
	else if (index == REG_B)
		write_b(rtc, value);
	else
		rtc->cmos[index] = index == REG_A ? value & ~A_UIP : value;
	if (index <= REG_B) {
		update_line(rtc);
		schedule(rtc);
	}
}

static uint32_t rtc_read(struct device *dev, uint16_t offset, unsigned int bytes)
{
	struct rtc *rtc = to_rtc(dev);

	return offset ? read_register(rtc, rtc->index) : 0xff; /* the index cannot be read */
}

static void rtc_write(struct device *dev, uint16_t offset, unsigned int bytes, uint32_t value)
{
	struct rtc *rtc = to_rtc(dev);

	if (offset)
		write_register(rtc, rtc->index, (uint8_t)value);
	else
		rtc->index = value & 0x7f; /* bit 7 masks NMI, of which there are none to mask */
}

/* --- life --- */

static void put_le16(uint8_t *at, uint64_t value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}

/* Memory sizes where firmware leaves them: KiB below 1 MiB and above, 64 KiB above 16 MiB. */
static void fill_memory_size(struct rtc *rtc, uint64_t bytes)
{
	uint64_t below_hole = MIN(bytes, (uint64_t)PC_HOLE_GPA), above_4g = bytes - below_hole;
	uint64_t extended_kib = below_hole > MIB ? MIN((below_hole - MIB) / KIB, 0xfc00) : 0;
	uint64_t above_16m = below_hole > 16 * MIB ? (below_hole - 16 * MIB) / (64 * KIB) : 0;

	put_le16(&rtc->cmos[0x15], 640);
	put_le16(&rtc->cmos[0x17], extended_kib);
	put_le16(&rtc->cmos[0x30], extended_kib);
	put_le16(&rtc->cmos[0x34], MIN(above_16m, 0xffff));
	above_4g = MIN(above_4g / (64 * KIB), 0xffffff);
	put_le16(&rtc->cmos[0x5b], above_4g);
	rtc->cmos[0x5d] = (uint8_t)(above_4g >> 16);
}

static int rtc_create(struct device *dev, const void *config)
{
	const struct rtc_config *rtc_config = config;
	struct rtc *rtc = to_rtc(dev);

	rtc->cmos[REG_A] = A_DIVIDER_RUN | 6; /* 1024 Hz, as firmware leaves it */
	rtc->cmos[REG_B] = B_24_HOURS;
	rtc->cmos[REG_D] = D_VALID;
	fill_memory_size(rtc, rtc_config->memory_bytes);
	return device_timer_new(dev, event_due, &rtc->timer);
}

static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = to_rtc(dev);

	rtc->index = 0;
	rtc->cmos[REG_B] &= ~(C_EVENTS | B_SET);
	rtc->cmos[REG_C] = 0;
	rtc->seen_ns = guest_ns(rtc);
	update_line(rtc);
	schedule(rtc);
}

static int rtc_rebuild(struct device *dev)
{
	struct rtc *rtc = to_rtc(dev);

	if (rtc->index > 0x7f || (rtc->cmos[REG_A] & A_UIP) || rtc->cmos[REG_D] != D_VALID ||
	    (rtc->cmos[REG_C] & ~(C_IRQF | C_EVENTS)) || rtc->seen_ns > INT64_MAX)
		return -EINVAL;
	update_line(rtc);
	schedule(rtc);
	return 0;
}

static const struct pio_range rtc_pio[] = {
	{.base = PC_PORT_RTC, .count = 2, .width = 1, .read = rtc_read, .write = rtc_write}, {}};

static const struct state_field rtc_state[] = {STATE_FIELD(1, struct rtc, cmos),
					       STATE_FIELD(2, struct rtc, index),
					       STATE_FIELD(3, struct rtc, offset_ns),
					       STATE_FIELD(4, struct rtc, seen_ns),
					       {}};

const struct device_class rtc_class = {
	.name = "rtc",
	.size = sizeof(struct rtc),
	.pio = rtc_pio,
	.state = rtc_state,
	.create = rtc_create,
	.reset = rtc_reset,
	.rebuild = rtc_rebuild,
};
