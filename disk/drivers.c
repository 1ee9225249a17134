/*
 * drivers.c - the formats
 */
#include "driver.h"

/*
 * The formats whose mark is at the start of the file come first. The mark of a VHD, at its end, may
 * be what a guest wrote into the last sector of another format's image.
 */
const struct image_driver *const image_drivers[] = {&vhdx_driver, &qcow2_driver, &vmdk_driver,
						    &vhd_driver, NULL};
