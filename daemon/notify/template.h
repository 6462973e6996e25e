#pragma once
/* Templates: {{name}} is replaced by a value; an unknown name is a fault at load time. Values are cleaned for their place:
 * in a subject no control characters, in a body no NUL. */
#include "config/config.h"

struct template_var {
    const char *name, *value;
};
/* Names that templates may use. */
extern const char *const template_names[];
bool template_name_known(const char *name, size_t n);
/* Renders into `out`; a variable without a value gives nothing. */
int template_render(const char *text, bool one_line, const struct template_var *vars, size_t nvars, struct buf *out);
