/*
 * pit.h - the 8254 interval timer and port 0x61 (its channel 2 gate and output, the speaker)
 *
 * Facts: Intel 8254 data sheet; port 0x61 from the Intel 82371AB (PIIX4) data sheet, "NMI Status
 * and Control".
 */
#ifndef EMULATED_PIT_H
#define EMULATED_PIT_H

#include "bus.h"

#define PIT_HZ 1193182u

extern const struct device_class pit_class; /* config: none */

#endif
