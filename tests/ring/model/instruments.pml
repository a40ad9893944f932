/* instruments.pml: mdf_instrument_put and mdf_read_instrument, the writer killed before any step.
 *
 * The writer appends entry 0 and then changes it; a writer that takes over goes on with the next
 * change and does not know how far the dead one came. A reader never gets half of one and half of
 * another, and once a writer lives, the entry is readable. Sequentially consistent; names are those
 * of mdfeedd.h.
 *
 * Faults (each must be found): -DM_NO_JOURNAL -DM_INTENT_FIRST -DM_NO_ODD -DM_EVEN_FIRST
 *     -DM_COUNT_FIRST
 */
#ifndef KILLS
#define KILLS 2
#endif
#ifndef CHANGES
#define CHANGES 3
#endif

byte version, word1, word2;     /* the entry */
byte count;                     /* instruments_count */
bool intent;                    /* of entry 0 */
byte intended1, intended2;
byte kills, change;             /* change: the last one begun, by any writer */
bool settled;                   /* the last writer is through */
chan kill = [0] of { bit };

inline carry_out() {
    v = (version % 2 == 1 -> version : version + 1);
#ifdef M_COUNT_FIRST
    count = 1;
#endif
#ifndef M_NO_ODD
    version = v;
#endif
#ifdef M_EVEN_FIRST
    version = v + 1;
#endif
    word1 = intended1;
    word2 = intended2;
    version = v + 1;
    count = 1;
    intent = false
}

active proctype Writer() {
    byte v;
again:
    {
#ifndef M_NO_JOURNAL
        if :: intent -> carry_out() :: else fi;
#endif
        do
        :: change == CHANGES -> break
        :: change < CHANGES ->
            change++;
#ifdef M_INTENT_FIRST
            intent = true;
#endif
            intended1 = change;
            intended2 = change;
            intent = true;
            carry_out()
        od;
        settled = true
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

active proctype Reader() {
    byte v, a, b, last, tries;
    bool was_settled;
    do
    :: tries == 3 -> break
    :: tries < 3 ->
        was_settled = settled;
        if
        :: count == 0 -> assert(!was_settled || CHANGES == 0 || kills > 0)
        :: else ->
            v = version;
            if
            :: v % 2 == 1 -> assert(!was_settled) /* a writer is at it, or dead */
            :: else ->
                a = word1;
                b = word2;
                if
                :: version == v -> assert(a == b && a > 0 && a >= last); last = a
                :: else
                fi
            fi
        fi;
        tries++
    od
}
