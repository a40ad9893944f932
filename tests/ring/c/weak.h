/* weak.h: a model checker for small programs on C11 atomics, to be included before mdfeedd.h.
 *
 * The memory is that of RC11 without load buffering, by views (Kang et al., POPL 2017, without promises; release
 * sequences as in C++20, which are the shorter ones): a location is the list of all that was ever stored to it, a
 * thread's view says of each location how old a value it may still read, and
 *
 *     a relaxed load    takes any value that is not older than the view, which goes there
 *     an acquire load   adds what the storing thread had released with the value
 *     a release store   releases the thread's view with the value; a relaxed one the view of the last release fence
 *     an acquire fence  adds what the relaxed loads before it were given
 *     a seq_cst fence   is both, and its view and those of the seq_cst fences before it become one
 *
 * Every choice (which thread goes on, which value is loaded, where in a location's order a store of several writers
 * stands, whether the writer dies here) is made in all ways, by running the program again from the start. Plain
 * accesses are not looked at (ThreadSanitizer does that), nor is a load that takes a value from the future, which
 * no compiler or processor makes of loads whose result decides about the stores behind them, as all here do.
 *
 * Threads that load nothing another one stores run to their end first: whoever reads may choose among all they
 * stored, so other schedules add nothing. Else `weak_together` tries every schedule, with a change of threads before
 * each load of what another stores, each seq_cst fence and system call, and each store to a location of several
 * writers: changes before other stores and fences are no different from changes after them.
 */
#ifndef WEAK_H
#define WEAK_H

#undef _FORTIFY_SOURCE /* its longjmp knows one stack only */
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#ifndef WEAK_LIMIT
#define WEAK_LIMIT 100000000L /* executions: more is a failure, not a proof */
#endif
#ifndef WEAK_LOCATIONS
#define WEAK_LOCATIONS 48
#endif
enum { WEAK_MESSAGES = 24, WEAK_THREADS = 4, WEAK_CHOICES = 4096, WEAK_STACK = 1 << 18 };

typedef struct weak_view { float at[WEAK_LOCATIONS]; } weak_view; /* 0: the value at the start */
typedef struct weak_message { uint64_t value; float when; weak_view view; } weak_message;
typedef struct weak_location {
    const void *address;
    int n, readers, writers; /* bit i: thread i did */
    int contended;           /* 1: some store what others load; 2: several store */
    weak_message of[WEAK_MESSAGES]; /* in the order of the location */
} weak_location;
typedef struct weak_thread {
    weak_view now, acquirable, released;
    ucontext_t context; /* for the first step only: later ones are jumps, which cost no system call */
    jmp_buf here;
    char *stack;
    void (*run)(void);
    int begun, over, asleep;
} weak_thread;

static weak_location weak_at[WEAK_LOCATIONS];
static int weak_locations, weak_used; /* weak_used: views are compared so far */
static weak_thread weak_threads[WEAK_THREADS];
static int weak_running, weak_scheduling;
static weak_view weak_fences, weak_kernel;
static ucontext_t weak_unused;
static jmp_buf weak_scheduler;
static int weak_choice[WEAK_CHOICES], weak_of[WEAK_CHOICES], weak_depth, weak_prefix;
static long weak_executions;
static const char *weak_failure;
static jmp_buf weak_abandon, weak_death;
static int weak_mortal, weak_trace;
static struct { const char *from; size_t bytes; } weak_left_out[4];

/* ------------------------------------------------------------------------------------------- choices */

static int weak_choose(int n) {
    if (n <= 1) return 0;
    if (weak_depth == WEAK_CHOICES) {
        fprintf(stderr, "more than %d choices in one execution\n", WEAK_CHOICES);
        exit(2);
    }
    if (weak_depth >= weak_prefix) weak_choice[weak_depth] = 0;
    weak_of[weak_depth] = n;
    return weak_choice[weak_depth++];
}

/* The next execution; 0: there is none. */
static int weak_next(void) {
    while (weak_depth && weak_choice[weak_depth - 1] + 1 == weak_of[weak_depth - 1]) weak_depth--;
    if (!weak_depth) return 0;
    weak_choice[weak_depth - 1]++;
    weak_prefix = weak_depth;
    return 1;
}

__attribute__((unused)) static void weak_fail(const char *what) {
    weak_failure = what;
    longjmp(weak_abandon, 1);
}
#define WEAK_CHECK(condition) ((condition) ? (void)0 : weak_fail(#condition))

/* -------------------------------------------------------------------------------------------- memory */

static void weak_join(weak_view *to, const weak_view *from) {
    for (int i = 0; i < weak_used; i++)
        if (from->at[i] > to->at[i]) to->at[i] = from->at[i];
}

/* The initial value is what lies at the address: nobody else writes there. */
static weak_location *weak_find(const void *address, size_t size) {
    for (int i = 0; i < weak_locations; i++)
        if (weak_at[i].address == address) return &weak_at[i];
    if (weak_locations == WEAK_LOCATIONS) {
        fprintf(stderr, "more than %d locations\n", WEAK_LOCATIONS);
        exit(2);
    }
    weak_location *l = &weak_at[weak_locations++];
    weak_used = weak_locations;
    memset(&l->of[0], 0, sizeof l->of[0]);
    memcpy(&l->of[0].value, address, size);
    l->address = address;
    l->n = 1;
    l->readers = l->writers = l->contended = 0;
    return l;
}

/* In `program`: threads that run together meet at p, of `size` bytes; `stores`: several of them store there. */
__attribute__((unused)) static void weak_meet(const void *p, size_t size, int stores) {
    weak_find(p, size)->contended = 1 + stores;
}

/* In `program`: words that no finding depends on; they cost nothing, and a load there takes what was stored last. */
__attribute__((unused)) static void weak_leave_out(int i, const void *from, size_t bytes) {
    weak_left_out[i].from = (const char *)from;
    weak_left_out[i].bytes = bytes;
}

static int weak_is_left_out(const void *p) {
    for (int i = 0; i < 4; i++)
        if ((size_t)((const char *)p - weak_left_out[i].from) < weak_left_out[i].bytes) return 1;
    return 0;
}

/* Where threads meet unannounced, schedules would be missing. */
static void weak_note(weak_location *l, int store) {
    *(store ? &l->writers : &l->readers) |= 1 << weak_running;
    int others = ~(1 << weak_running);
    if (!weak_scheduling || l->contended > 1) return;
    if (store ? l->writers & others || (!l->contended && l->readers & others) : !l->contended && l->writers & others) {
        fprintf(stderr, "threads meet at %p: weak_meet should say so\n", l->address);
        exit(2);
    }
}

static void weak_yield(void) {
    if (weak_scheduling && _setjmp(weak_threads[weak_running].here) == 0) _longjmp(weak_scheduler, 1);
}

static uint64_t weak_load(const void *p, size_t size, int order) {
    uint64_t plain = 0;
    if (weak_is_left_out(p)) return memcpy(&plain, p, size), plain;
    weak_location *l = weak_find(p, size);
    if (l->contended) weak_yield();
    weak_note(l, 0);
    weak_thread *t = &weak_threads[weak_running];
    int i = (int)(l - weak_at), oldest = l->n - 1;
    while (oldest > 0 && l->of[oldest].when > t->now.at[i]) oldest--;
    weak_message *m = &l->of[l->n - 1 - weak_choose(l->n - oldest)]; /* the newest first */
    if (m->when > t->now.at[i]) t->now.at[i] = m->when;
    weak_join(&t->acquirable, &m->view);
    if (m->when > t->acquirable.at[i]) t->acquirable.at[i] = m->when;
    if (order == __ATOMIC_ACQUIRE || order == __ATOMIC_SEQ_CST) weak_join(&t->now, &m->view);
    if (weak_trace) printf("load %s %p %d\n", order == __ATOMIC_ACQUIRE ? "acquire" : "relaxed", p, (int)size);
    return size == 4 ? (uint32_t)m->value : m->value;
}

static void weak_store(void *p, uint64_t value, size_t size, int order) {
    if (weak_is_left_out(p)) return (void)memcpy(p, &value, size);
    weak_location *l = weak_find(p, size);
    if (l->contended > 1) weak_yield();
    weak_note(l, 1);
    weak_thread *t = &weak_threads[weak_running];
    int i = (int)(l - weak_at), place = l->n;
    if (l->n == WEAK_MESSAGES) {
        fprintf(stderr, "more than %d stores to a location\n", WEAK_MESSAGES);
        exit(2);
    }
    if (l->contended > 1) { /* anywhere behind what this thread knows of */
        int oldest = l->n - 1;
        while (oldest > 0 && l->of[oldest].when > t->now.at[i]) oldest--;
        place = l->n - weak_choose(l->n - oldest);
    }
    float before = l->of[place - 1].when, when = place == l->n ? before + 1 : (before + l->of[place].when) / 2;
    memmove(&l->of[place + 1], &l->of[place], (size_t)(l->n - place) * sizeof l->of[0]);
    l->n++;
    weak_message *m = &l->of[place];
    m->value = value;
    m->when = when;
    t->now.at[i] = t->acquirable.at[i] = when;
    m->view = order == __ATOMIC_RELAXED ? t->released : t->now;
    m->view.at[i] = when;
    if (weak_trace) printf("store %s %p %d\n", order == __ATOMIC_RELEASE ? "release" : "relaxed", p, (int)size);
}

static void weak_fence(int order) {
    if (order == __ATOMIC_SEQ_CST) weak_yield();
    weak_thread *t = &weak_threads[weak_running];
    if (order != __ATOMIC_RELEASE) t->now = t->acquirable;
    if (order == __ATOMIC_SEQ_CST) {
        weak_join(&weak_fences, &t->now);
        t->now = weak_fences;
        weak_join(&t->acquirable, &t->now);
    }
    if (order != __ATOMIC_ACQUIRE) t->released = t->now;
    if (weak_trace)
        printf("fence %s 0 0\n", order == __ATOMIC_ACQUIRE ? "acquire" : order == __ATOMIC_RELEASE ? "release" : "full");
}

#define __atomic_load_n(p, order) ((__typeof__(*(p) + 0))weak_load((p), sizeof *(p), (order)))
#define __atomic_store_n(p, v, order) weak_store((p), (uint64_t)(v), sizeof *(p), (order))
#define __atomic_thread_fence(order) weak_fence(order)

/* Who spins on an old value may go on for ever: that one is not followed, those that saw a newer one are. */
__attribute__((unused)) static void weak_spun(void) { longjmp(weak_abandon, 1); }
#define __builtin_ia32_pause() weak_spun()

/* A kill -9 after any store, while somebody is mortal. */
#define MDF_AFTER_STORE() (weak_mortal && weak_choose(2) ? longjmp(weak_death, 1) : (void)0)

/* ------------------------------------------------------------------------------- the kernel's futexes */

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One bucket, under its lock: {compare, enqueue} and {dequeue all} are steps. 0: slept and was woken, or woke. */
__attribute__((unused)) static long weak_futex(const uint32_t *word, int op, uint32_t value) {
    weak_yield();
    weak_thread *t = &weak_threads[weak_running];
    weak_join(&t->now, &weak_kernel);
    weak_join(&t->acquirable, &t->now);
    int scheduling = weak_scheduling;
    long result = 0;
    if (weak_trace) printf("%s futex %p 4\n", (op & FUTEX_CMD_MASK) == FUTEX_WAKE ? "wake" : "wait", (const void *)word);
    weak_scheduling = 0; /* no other thread while the lock is held */
    if ((op & FUTEX_CMD_MASK) == FUTEX_WAKE) {
        if (!(op & FUTEX_PRIVATE_FLAG))
            for (int i = 0; i < WEAK_THREADS; i++) weak_threads[i].asleep = 0;
    } else if ((uint32_t)weak_load(word, 4, __ATOMIC_RELAXED) == value) {
        t->asleep = 1;
    } else {
        result = -1;
    }
    weak_scheduling = scheduling;
    weak_join(&weak_kernel, &t->now);
    if (t->asleep) {
        weak_yield();
        weak_join(&t->now, &weak_kernel);
        weak_join(&t->acquirable, &t->now);
    }
    return result;
}
#define syscall(number, word, op, value, timeout, second, third) \
    ((void)(timeout), weak_futex((const uint32_t *)(word), (op), (uint32_t)(value)))

/* --------------------------------------------------------------------------------------- executions */

/* In `program`, called once an execution: run as thread i, which knows what thread `after` knows (-1: nothing). */
__attribute__((unused)) static void weak_as(int i, int after, void (*run)(void)) {
    static const weak_thread fresh;
    weak_view view = after < 0 ? fresh.now : weak_threads[after].now;
    weak_running = i;
    weak_threads[i].now = weak_threads[i].acquirable = view;
    run();
}

/* In `program`: run, and die after any store, or after none. */
__attribute__((unused)) static void weak_mortally(int i, int after, void (*run)(void)) {
    if (setjmp(weak_death) == 0) {
        weak_mortal = 1;
        weak_as(i, after, run);
    }
    weak_mortal = 0;
}

static void weak_enter(void) {
    for (;;) {
        weak_thread *t = &weak_threads[weak_running];
        t->run();
        t->over = 1;
        if (_setjmp(t->here) == 0) _longjmp(weak_scheduler, 1);
    }
}

/* One step of the thread that runs. */
static void weak_step(void) {
    weak_thread *t = &weak_threads[weak_running];
    if (_setjmp(weak_scheduler)) return;
    if (t->begun) _longjmp(t->here, 1);
    t->begun = 1;
    getcontext(&t->context);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = WEAK_STACK;
    makecontext(&t->context, weak_enter, 0);
    swapcontext(&weak_unused, &t->context);
}

/* In `program`: run threads 0 to n - 1 in every schedule; returns when none can go on. */
__attribute__((unused)) static void weak_together(int n, void (*run[])(void)) {
    for (int i = 0; i < n; i++) {
        weak_thread *t = &weak_threads[i];
        if (!t->stack) t->stack = malloc(WEAK_STACK);
        if (!t->over) t->begun = 0; /* it was left in the middle, the last time */
        t->over = t->asleep = 0;
        t->run = run[i];
    }
    weak_scheduling = 1;
    for (;;) {
        int able[WEAK_THREADS], k = 0;
        for (int i = 0; i < n; i++)
            if (!weak_threads[i].over && !weak_threads[i].asleep) able[k++] = i;
        if (!k) break;
        weak_running = able[weak_choose(k)];
        weak_step();
    }
    weak_scheduling = 0;
}

/* For `program`, behind the end of all: what is newest in a location's order. */
__attribute__((unused)) static uint64_t weak_newest(const void *p) {
    weak_location *l = weak_find(p, 8);
    return l->of[l->n - 1].value;
}

/* All executions of `program`. 0: none failed. Says how many there were, or what failed after how many. */
__attribute__((unused)) static int weak_explore(const char *name, void (*program)(void)) {
    weak_executions = 0;
    weak_depth = weak_prefix = 0;
    do {
        for (int i = 0; i < WEAK_THREADS; i++) {
            weak_thread *t = &weak_threads[i];
            memset(&t->now, 0, sizeof t->now);
            memset(&t->acquirable, 0, sizeof t->now);
            memset(&t->released, 0, sizeof t->now);
            t->asleep = 0;
        }
        memset(&weak_fences, 0, sizeof weak_fences);
        memset(&weak_kernel, 0, sizeof weak_kernel);
        weak_locations = weak_depth = weak_running = weak_scheduling = weak_mortal = 0;
        weak_executions++;
        if (setjmp(weak_abandon) == 0) program();
        if (weak_failure) {
            fprintf(stderr, "%s: execution %ld violates: %s\n", name, weak_executions, weak_failure);
            return 1;
        }
        if (weak_executions == WEAK_LIMIT) {
            fprintf(stderr, "%s: more than %ld executions\n", name, WEAK_LIMIT);
            return 1;
        }
    } while (weak_next());
    printf("%s %ld\n", name, weak_executions);
    return 0;
}

#endif
