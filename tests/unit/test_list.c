/* test_list.c - the intrusive list: order, membership, removal while walking. */
#include "base/list.h"

#include <criterion/criterion.h>
#include <signal.h>

struct item {
    int number;
    struct list_link link;
};

static struct list list;
static struct item items[4];

static void setup(void)
{
    list_init(&list);
    for (int i = 0; i < 4; i++) {
        items[i] = (struct item){.number = i};
    }
}

TestSuite(list, .init = setup);

/* The numbers in the list as one decimal number, front first; -1 when the back links disagree. */
static int numbers(void)
{
    int forward = 0;
    int weight = 1;
    int backward = 0;
    LIST_EACH (&list, link) {
        forward = forward * 10 + LIST_ENTRY(link, struct item, link)->number;
    }
    for (struct list_link *link = list.head.previous; link != &list.head; link = link->previous) {
        backward += weight * LIST_ENTRY(link, struct item, link)->number;
        weight *= 10;
    }
    return forward == backward ? forward : -1;
}

Test(list, keeps_the_order_of_append_and_prepend)
{
    list_append(&list, &items[2].link);
    list_append(&list, &items[3].link);
    list_prepend(&list, &items[1].link);
    cr_assert_eq(numbers(), 123);
    cr_assert_eq(list_take_first(&list), &items[1].link);
    cr_assert_eq(numbers(), 23);
}

Test(list, an_empty_list_gives_null)
{
    cr_assert(list_is_empty(&list));
    cr_assert_null(list_first(&list));
    cr_assert_null(list_take_first(&list));
}

Test(list, knows_who_is_linked_also_when_zeroed)
{
    cr_assert_not(list_is_linked(&items[0].link));
    list_remove(&items[0].link);
    cr_assert_not(list_is_linked(&items[0].link));
    list_append(&list, &items[0].link);
    cr_assert(list_is_linked(&items[0].link));
    list_remove(&items[0].link);
    list_remove(&items[0].link);
    cr_assert_not(list_is_linked(&items[0].link));
    cr_assert(list_is_empty(&list));
}

Test(list, a_walk_may_remove_what_it_stands_on)
{
    for (int i = 0; i < 4; i++) {
        list_append(&list, &items[i].link);
    }
    LIST_EACH (&list, link) {
        if (LIST_ENTRY(link, struct item, link)->number % 2 == 0) {
            list_remove(link);
        }
    }
    cr_assert_eq(numbers(), 13);
}

Test(list, linking_twice_is_a_bug, .signal = SIGABRT)
{
    list_append(&list, &items[0].link);
    list_append(&list, &items[0].link);
}
