/* weak_litmus.c: the checker checked: what is known of C11's litmus tests, allowed and forbidden.
 *
 *     weak_litmus
 *
 * Each test is run in every way; it says whether the outcome in question was seen, which must be as published for
 * RC11 (Lahav et al., PLDI 2017). Load buffering is the exception: see weak.h.
 */
#include "weak.h"

static uint64_t x, y, z;
static uint64_t a, b, c, d;
static int store_order, load_order, fences, seen;

static void start(int stores) {
    a = b = c = d = 0;
    weak_meet(&x, 8, stores);
    weak_meet(&y, 8, stores);
    weak_meet(&z, 8, 0);
}
static void put(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, store_order); }
static uint64_t get(uint64_t *p) { return __atomic_load_n(p, load_order); }
static void fence(int order) { if (fences) __atomic_thread_fence(fences == 2 ? __ATOMIC_SEQ_CST : order); }

static void mp0(void) { __atomic_store_n(&x, 1, __ATOMIC_RELAXED); fence(__ATOMIC_RELEASE); put(&y, 1); }
static void mp1(void) { a = get(&y); fence(__ATOMIC_ACQUIRE); b = __atomic_load_n(&x, __ATOMIC_RELAXED); }
static void mp(void) {
    start(0);
    weak_together(2, (void (*[])(void)){mp0, mp1});
    seen |= a == 1 && b == 0;
}

static void sb0(void) { put(&x, 1); fence(__ATOMIC_RELEASE); a = get(&y); }
static void sb1(void) { put(&y, 1); fence(__ATOMIC_RELEASE); b = get(&x); }
static void sb(void) {
    start(0);
    weak_together(2, (void (*[])(void)){sb0, sb1});
    seen |= a == 0 && b == 0;
}

static void iriw0(void) { put(&x, 1); }
static void iriw1(void) { put(&y, 1); }
static void iriw2(void) { a = get(&x); fence(__ATOMIC_ACQUIRE); b = get(&y); }
static void iriw3(void) { c = get(&y); fence(__ATOMIC_ACQUIRE); d = get(&x); }
static void iriw(void) {
    start(0);
    weak_together(4, (void (*[])(void)){iriw0, iriw1, iriw2, iriw3});
    seen |= a == 1 && b == 0 && c == 1 && d == 0;
}

static void corr0(void) { put(&x, 1); put(&x, 2); }
static void corr1(void) { a = get(&x); b = get(&x); }
static void corr(void) {
    start(0);
    weak_together(2, (void (*[])(void)){corr0, corr1});
    seen |= a > b;
}

static void w22a(void) { put(&x, 1); fence(__ATOMIC_RELEASE); put(&y, 2); }
static void w22b(void) { put(&y, 1); fence(__ATOMIC_RELEASE); put(&x, 2); }
static void w22(void) {
    start(1);
    weak_together(2, (void (*[])(void)){w22a, w22b});
    seen |= weak_newest(&x) == 1 && weak_newest(&y) == 1;
}

/* A chain: what the first released reaches the third through the second. */
static void wrc0(void) { put(&x, 1); }
static void wrc1(void) { a = get(&x); put(&y, 1); }
static void wrc2(void) { b = get(&y); c = get(&x); }
static void wrc(void) {
    start(0);
    weak_together(3, (void (*[])(void)){wrc0, wrc1, wrc2});
    seen |= a == 1 && b == 1 && c == 0;
}

/* A relaxed store behind a release store is no part of its release sequence (C++20). */
static void rs0(void) { __atomic_store_n(&z, 1, __ATOMIC_RELAXED); put(&y, 1); __atomic_store_n(&y, 2, __ATOMIC_RELAXED); }
static void rs1(void) { a = get(&y); b = __atomic_load_n(&z, __ATOMIC_RELAXED); }
static void rs(void) {
    start(0);
    weak_together(2, (void (*[])(void)){rs0, rs1});
    seen |= a == 2 && b == 0;
}

static int bad;
static void expect(const char *name, void (*program)(void), int store, int load, int fence, int allowed) {
    seen = 0;
    store_order = store;
    load_order = load;
    fences = fence;
    if (weak_explore(name, program) || seen != allowed) {
        fprintf(stderr, "%s (%d, %d, fences %d): %s\n", name, store, load, fence, seen ? "seen" : "never seen");
        bad = 1;
    }
}

enum { R = __ATOMIC_RELAXED, ACQ = __ATOMIC_ACQUIRE, REL = __ATOMIC_RELEASE, WEAK = 1, FULL = 2 };

int main(void) {
    expect("message passing, relaxed", mp, R, R, 0, 1);
    expect("message passing, release and relaxed", mp, REL, R, 0, 1);
    expect("message passing, relaxed and acquire", mp, R, ACQ, 0, 1);
    expect("message passing, release and acquire", mp, REL, ACQ, 0, 0);
    expect("message passing, fences", mp, R, R, WEAK, 0);
    expect("store buffering, release and acquire", sb, REL, ACQ, 0, 1);
    expect("store buffering, release fences", sb, R, R, WEAK, 1);
    expect("store buffering, full fences", sb, R, R, FULL, 0);
    expect("two readers disagree, release and acquire", iriw, REL, ACQ, 0, 1);
    expect("two readers disagree, full fences", iriw, R, R, FULL, 0);
    expect("one location, two loads", corr, R, R, 0, 0);
    expect("two locations, two writers, relaxed", w22, R, R, 0, 1);
    expect("two locations, two writers, full fences", w22, R, R, FULL, 0);
    expect("chain, relaxed", wrc, R, R, 0, 1);
    expect("chain, release and acquire", wrc, REL, ACQ, 0, 0);
    expect("relaxed behind release", rs, REL, ACQ, 0, 1);
    return bad;
}
