/* list.h - intrusive doubly linked list, circular around its head.
 *
 * A link belongs to at most one list. An unlinked link points at itself, so list_remove() of it is
 * harmless and list_is_linked() is a question that can be asked. */
#ifndef TRILITH_BASE_LIST_H
#define TRILITH_BASE_LIST_H

#include "base/check.h"

#include <stdbool.h>

struct list_link {
    struct list_link *next;
    struct list_link *previous;
};

struct list {
    struct list_link head;
};

static inline void list_link_init(struct list_link *link)
{
    link->next = link;
    link->previous = link;
}

static inline void list_init(struct list *list)
{
    list_link_init(&list->head);
}

static inline bool list_is_linked(const struct list_link *link)
{
    return link->next != NULL && link->next != link;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->head.next == &list->head;
}

static inline void list_insert_before(struct list_link *position, struct list_link *link)
{
    CHECK(!list_is_linked(link));
    link->next = position;
    link->previous = position->previous;
    position->previous->next = link;
    position->previous = link;
}

static inline void list_append(struct list *list, struct list_link *link)
{
    list_insert_before(&list->head, link);
}

static inline void list_prepend(struct list *list, struct list_link *link)
{
    list_insert_before(list->head.next, link);
}

static inline void list_remove(struct list_link *link)
{
    if (link->next == NULL) {
        list_link_init(link);
        return;
    }
    link->previous->next = link->next;
    link->next->previous = link->previous;
    list_link_init(link);
}

/* The first link, or NULL. */
static inline struct list_link *list_first(const struct list *list)
{
    return list_is_empty(list) ? NULL : list->head.next;
}

/* Remove and return the first link, or NULL. */
static inline struct list_link *list_take_first(struct list *list)
{
    struct list_link *link = list_first(list);
    if (link != NULL) {
        list_remove(link);
    }
    return link;
}

/* Walk a list; the body may remove `link` itself, but no other. */
#define LIST_EACH(list, link)                                                                                          \
    for (struct list_link *link = (list)->head.next, *link##_next = link->next; link != &(list)->head;                 \
         link = link##_next, link##_next = link->next)

#define LIST_ENTRY(link, type, member) CONTAINER_OF(link, type, member)

#endif
