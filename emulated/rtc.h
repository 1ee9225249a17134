/*
 * rtc.h - the MC146818 real-time clock and its 128 bytes of CMOS memory
 *
 * Facts: Motorola MC146818A data sheet; the century byte and the memory sizes as PC firmware
 * lays them out (Linux arch/x86, drivers/rtc/rtc-cmos read them so).
 */
#ifndef EMULATED_RTC_H
#define EMULATED_RTC_H

#include "bus.h"

struct rtc_config {
	uint64_t memory_bytes; /* of guest RAM, for the memory size bytes */
};

extern const struct device_class rtc_class; /* config: struct rtc_config */

#endif
