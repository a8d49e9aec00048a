#include "sum.h"
.text
.global SUM
.type SUM, %function
SUM: add x0, x0, x1
     ret
.section .note.GNU-stack,"",%progbits
