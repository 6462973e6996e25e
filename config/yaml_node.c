/* Views on nodes of a libyaml document. Nothing here allocates; a node lives as long as its file. */
#include "config/load.h"

#include <string.h>

struct mark yn_mark(struct yn n)
{
    return (struct mark){n.file->path, (int)n.node->start_mark.line + 1, (int)n.node->start_mark.column + 1};
}

struct yn yn_at(struct yn n, int id)
{
    yaml_node_t *node = yaml_document_get_node(&n.file->doc, id);
    cd_assert(node);
    return (struct yn){n.file, node};
}

const char *yn_text(struct yn n)
{
    if (n.node->type != YAML_SCALAR_NODE)
        return NULL;
    const char *s = (const char *)n.node->data.scalar.value;
    return strlen(s) == n.node->data.scalar.length ? s : NULL;
}

bool yn_is_null(struct yn n)
{
    if (n.node->type != YAML_SCALAR_NODE || n.node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return n.node->type == YAML_NO_NODE;
    const char *s = (const char *)n.node->data.scalar.value;
    return !*s || str_eq(s, "~") || str_ieq(s, "null");
}

const char *yn_kind(struct yn n)
{
    switch (n.node->type) {
    case YAML_SEQUENCE_NODE:
        return "a list";
    case YAML_MAPPING_NODE:
        return "a group of keys";
    default:
        return "one value";
    }
}

size_t yn_items(struct yn n)
{
    if (n.node->type != YAML_SEQUENCE_NODE)
        return 0;
    return (size_t)(n.node->data.sequence.items.top - n.node->data.sequence.items.start);
}

struct yn yn_item(struct yn n, size_t i)
{
    return yn_at(n, n.node->data.sequence.items.start[i]);
}

size_t yn_pairs(struct yn n)
{
    if (n.node->type != YAML_MAPPING_NODE)
        return 0;
    return (size_t)(n.node->data.mapping.pairs.top - n.node->data.mapping.pairs.start);
}

struct yn yn_key(struct yn n, size_t i)
{
    return yn_at(n, n.node->data.mapping.pairs.start[i].key);
}

struct yn yn_value(struct yn n, size_t i)
{
    return yn_at(n, n.node->data.mapping.pairs.start[i].value);
}

void loader_digest_text(struct sha256_ctx *h, const char *p, size_t n)
{
    uint64_t len = n;
    sha256_add(h, &len, sizeof len);
    sha256_add(h, p, n);
}

/* The depth is bounded: deeper files are refused before they become nodes. */
void yn_digest(struct yn n, struct sha256_ctx *h)
{
    char type = (char)n.node->type;
    sha256_add(h, &type, 1);
    if (n.node->type == YAML_SCALAR_NODE)
        loader_digest_text(h, (const char *)n.node->data.scalar.value, n.node->data.scalar.length);
    for (size_t i = 0; i < yn_items(n); i++)
        yn_digest(yn_item(n, i), h);
    for (size_t i = 0; i < yn_pairs(n); i++) {
        yn_digest(yn_key(n, i), h);
        yn_digest(yn_value(n, i), h);
    }
    type = '.';
    sha256_add(h, &type, 1);
}
