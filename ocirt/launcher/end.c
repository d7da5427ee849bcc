/* Linked after the interpreter and before the C library: what lies before these is the image's, see image.c. */

char end_of_data[16] = {1};
char end_of_bss[16];
