#pragma once
/* Templates: {{name}} is replaced by a value; an unknown name is a fault at load time (config_template_name_known). Values are cleaned for their place:
 * in a subject no control characters, in a body no NUL. */
#include "config/config.h"

struct template_var {
    const char *name, *value;
};
/* Renders into `out`; a variable without a value gives nothing. */
int template_render(const char *text, bool one_line, const struct template_var *vars, size_t nvars, struct buf *out);
