/*
 * pic.h - the two cascaded 8259A interrupt controllers of a PC
 *
 * Facts: Intel 8259A data sheet; edge/level control registers from the Intel 82371AB (PIIX4)
 * data sheet, "Interrupt Controller".
 */
#ifndef EMULATED_PIC_H
#define EMULATED_PIC_H

#include "bus.h"

extern const struct device_class pic_class; /* config: none */

#endif
