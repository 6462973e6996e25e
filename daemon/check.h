#pragma once
/* `complaintd --check`: everything that can be known of a configuration without running it. */

/* Prints all faults, or a summary, to standard output; 0 or 78. */
int check_config(const char *path);
