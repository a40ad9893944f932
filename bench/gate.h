/* gate.c counts, what it counts may lie in other files. */
#ifndef GATE_H
#define GATE_H

#include "mdfeedd.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gate_die(const char *text);

/* Run the kernel on its state twice, and count the second time. `records`: what it does in one run. */
void gate_count(const char *name, uint64_t records, void (*kernel)(void *), void *state);

void gate_bloomberg(void); /* gate_blp.c */

#endif
