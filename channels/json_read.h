#pragma once
/* JSON of requests, for the front: bounded by the size that the caller allows and by its depth. */
#include <jansson.h>

#include "daemon/core/str.h"

#define JSON_READ_MAX_DEPTH 16
#define JSON_READ_MESSAGE 200

/* 0 and a new reference to an object without a name twice; CD_EINVAL and a sentence that says what is wrong and where. */
int json_read_object(const char *p, size_t n, json_t **ret, char message[JSON_READ_MESSAGE]) CD_MUSTUSE;
