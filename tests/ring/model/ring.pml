/* ring.pml: publish, read, reserve, recover and wake, the writer killed before any of its steps.
 *
 * Sequentially consistent: what memory orders are for is checked by the GenMC harnesses and the
 * litmus files. Each life of the writer writes other contents: two contents of one number show.
 * A reader that sleeps for ever is an invalid end state. Names are those of mdfeedd.h.
 *
 *     LAST     messages            CAP     slots           BLOCK   reserved at a time
 *     BURST    messages in a batch (1: mdf_publish only)
 *     READERS  1 or 2              KILLS   of the writer   PATHS   bit i: reader i reads in batches
 *
 * Faults (each must be found): -DM_TAIL_ONLY -DM_LOWER_RESERVE -DM_NO_WAKE -DM_CLEAR_WAITERS
 *     -DM_NO_GENERATION -DM_GENERATION_FIRST -DM_GENERATION_LATE -DM_NO_CLEAR -DM_LATE_RESERVE
 *     -DM_LOW_RESERVE -DM_COMMIT_FIRST -DM_TAIL_FIRST -DM_NO_LOOK -DM_LOOK_FIRST -DM_OFF_BY_ONE
 *     -DM_LOSS_ONE
 */
#ifndef LAST
#define LAST 3
#endif
#ifndef CAP
#define CAP 2
#endif
#ifndef BLOCK
#define BLOCK 1
#endif
#ifndef BURST
#define BURST 1
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef PATHS
#define PATHS 0
#endif

#define FEW 2                            /* MDF_FEW: as many as a read takes */
#define AT(s) ((s) % CAP)
#define CONTENT(s) ((s) * 8 + life)
#define ROUND(n) (((n) + BLOCK - 1) / BLOCK * BLOCK)
#ifdef M_OFF_BY_ONE
#define SAFE(s, r) ((s) + CAP + 1 >= (r))
#elif defined(M_NO_LOOK)
#define SAFE(s, r) true
#else
#define SAFE(s, r) ((s) + CAP >= (r))
#endif

byte word0[CAP], word1[CAP], word2[CAP]; /* a slot: commit word, payload */
byte reserve = 1, tail, wake_gen, life;
bool waiters, asleep[READERS];
byte seen[LAST + 1];                     /* what any reader first got for a seq; 0: nobody yet */
byte kills;
chan kill = [0] of { bit };

inline futex_wake() {
    d_step {
        asleep[0] = false;
#if READERS > 1
        asleep[1] = false;
#endif
    }
}

inline write_slot(s) {
#ifdef M_COMMIT_FIRST
    word0[AT(s)] = s;
#endif
    word1[AT(s)] = CONTENT(s);
    word2[AT(s)] = CONTENT(s);
#ifndef M_COMMIT_FIRST
    word0[AT(s)] = s;
#endif
}

inline reserve_to(need) {
    if
    :: need > reserved -> reserved = ROUND(need); reserve = reserved
    :: else
    fi
}

inline flush() {
#ifdef M_GENERATION_FIRST
    if :: waiters -> wake_gen++; waiters = false; futex_wake() :: else fi
#elif defined(M_NO_GENERATION)
    if :: waiters -> waiters = false; futex_wake() :: else fi
#elif defined(M_NO_CLEAR)
    if :: waiters -> wake_gen++; futex_wake(); waiters = false :: else fi
#else
    if :: waiters -> waiters = false; wake_gen++; futex_wake() :: else fi
#endif
}

inline recover() {
    atomic { life++; s = tail };
#ifndef M_TAIL_ONLY
    do
    :: word0[AT(s + 1)] == s + 1 -> s++
    :: else -> break
    od;
#endif
    next = s + 1;
#ifdef M_LOWER_RESERVE
    reserve = next;
#endif
    reserved = reserve;
    tail = s;
#ifndef M_NO_WAKE
    wake_gen++;
    futex_wake();
#endif
#ifdef M_CLEAR_WAITERS
    waiters = false;
#endif
}

active proctype Writer() {
    byte next, reserved, s, n, k;
again:
    {
        recover();
        do
        :: next > LAST -> break
        :: next <= LAST ->
            n = 1;
#if BURST > 1
            if
            :: next + BURST - 1 <= LAST -> n = BURST
            :: true
            fi;
#endif
#ifdef M_LOW_RESERVE
            reserve_to(next + n - 1);
#elif !defined(M_LATE_RESERVE)
            reserve_to(next + n);
#endif
#ifdef M_TAIL_FIRST
            tail = next + n - 1;
#endif
            k = 0;
            do
            :: k < n -> write_slot(next + k); k++
            :: else -> break
            od;
#ifdef M_LATE_RESERVE
            reserve_to(next + n);
#endif
            tail = next + n - 1;
            next = next + n;
            flush()
        od
    } unless { kill ? _ -> goto again }
}

active proctype Killer() {
    do
    :: kills < KILLS ->
end:    kill ! 0; /* it may also let a writer live */
        kills++
    :: else -> break
    od
}

/* The reader's side. Copies go word by word; only FUTEX_WAIT compares and enqueues in one step. */

inline accept(s, c1, c2) {
    assert(c1 == c2 && c1 / 8 == s);
    d_step {
        if
        :: seen[s] == 0 -> seen[s] = c1
        :: else -> assert(seen[s] == c1)
        fi
    };
    got++
}

inline lose(t) { /* on to the resume point of a reader that knows tail t and reserve r */
    d_step {
        to = (t > CAP / 2 -> t - CAP / 2 : 0);
        if :: r > CAP && r - CAP > to -> to = r - CAP :: else fi;
        if :: to <= next -> to = next + 1 :: else fi;
#ifdef M_LOSS_ONE
        lost++;
#else
        lost = lost + to - next;
#endif
        next = to; to = 0
    }
}

inline wait() {
#ifdef M_GENERATION_LATE
    waiters = true;
    g = wake_gen;
#else
    g = wake_gen;
    waiters = true;
#endif
    if
    :: word0[AT(next)] >= next
    :: else ->
#ifdef M_NO_GENERATION
        atomic { if :: word0[AT(next)] < next -> asleep[id] = true :: else fi };
#else
        atomic { if :: wake_gen == g -> asleep[id] = true :: else fi };
#endif
        !asleep[id]
    fi;
    g = 0
}

inline read_one() {
    q = word0[AT(next)];
    if
    :: q < next -> wait()
    :: else ->
#ifdef M_LOOK_FIRST
        r = reserve;
#endif
        a[0] = word1[AT(next)];
        b[0] = word2[AT(next)];
#ifndef M_LOOK_FIRST
        r = reserve;
#endif
        if
        :: q == next && SAFE(next, r) -> accept(next, a[0], b[0]); next++
        :: else -> t = tail; lose(t)
        fi
    fi
}

inline told() {
    t = tail;
    if
    :: t + 1 > next + n -> n = (t + 1 - next < 2 -> t + 1 - next : 2)
    :: else
    fi
}

inline after_burst() { if :: burst -> told() :: else fi }

inline ahead() { /* a few by their commit words, more by the tail */
    after_burst();
    if
    :: n > 0
    :: else ->
        q = next;
        do
        :: n < FEW && q == next + n ->
            q = word0[AT(next + n)];
            if
            :: q == next + n -> n++; q = next + n
            :: else
            fi
        :: else -> break
        od;
        if
        :: q < next + n && n < FEW
        :: else -> told()
        fi
    fi
}

inline read_batch() {
    ahead();
    if
    :: n == 0 -> wait()
    :: else ->
        r = reserve;
        if
        :: next + CAP < r -> t = tail; lose(t); n = (t + 1 <= next -> 0 : (t + 1 - next < 2 -> t + 1 - next : 2))
        :: else
        fi;
        k = 0;
        do
        :: k < n -> a[k] = word1[AT(next + k)]; b[k] = word2[AT(next + k)]; k++
        :: else -> break
        od;
        do /* what came meanwhile, by its commit words */
        :: n > 0 && n < 2 && next + n <= LAST && word0[AT(next + n)] == next + n ->
            a[n] = word1[AT(next + n)]; b[n] = word2[AT(next + n)]; n++
        :: else -> break
        od;
#ifndef M_LOOK_FIRST
        r = reserve;
#endif
        k = 0;
        burst = n >= FEW;
        do
        :: k < n && !SAFE(next, r) -> lost++; next++; k++
        :: k < n && SAFE(next, r) -> accept(next, a[k], b[k]); next++; k++
        :: k >= n -> break
        od
    fi
}

proctype Reader(byte id) {
    byte next = 1, got, lost, q, r, t, g, n, k, to;
    byte a[2], b[2];
    bool burst;
    do
    :: next > LAST -> break
    :: next <= LAST ->
        if
        :: (PATHS >> id) & 1 -> read_batch()
        :: else -> read_one()
        fi;
        assert(got + lost == next - 1);
        d_step { q = 0; r = 0; t = 0; n = 0; k = 0; a[0] = 0; a[1] = 0; b[0] = 0; b[1] = 0 }
    od
}

init {
    atomic {
        run Reader(0);
#if READERS > 1
        run Reader(1)
#endif
    }
}
