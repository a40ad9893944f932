/* Fields of a dictionary, as the SDK's toPy makes them: the source of the Python path. Needs the GIL. */
#ifndef MDFEEDD_BLP_DICT_H
#define MDFEEDD_BLP_DICT_H

#include <Python.h>
#include <datetime.h>

#include "blp_decode.h"

/* Words that are looked for, as interned strings; once taken they stay. */
static PyObject *blp_keys[BLP_FIELDS];
static const char *const blp_quote_words[] = {"BID", "ASK", "PAIRED", "MID"};
static const char *const blp_trade_words[] = {"NEW", "CANCEL", "CORRECT"};
static PyObject *blp_quote_texts[4], *blp_trade_texts[3], *blp_type_texts[2];
/* The zone that came last, and how far east of UTC it is. Only of types whose offset never changes. */
static PyObject *blp_zone, *blp_utcoffset;
static int blp_zone_minutes;

static int blp_dict_init(void) {
    PyDateTime_IMPORT;
    if (!PyDateTimeAPI) return -1;
    for (int i = 0; i < BLP_FIELDS; i++)
        if (!(blp_keys[i] = PyUnicode_InternFromString(blp_field_names[i]))) return -1;
    for (int i = 0; i < 4; i++)
        if (!(blp_quote_texts[i] = PyUnicode_InternFromString(blp_quote_words[i]))) return -1;
    for (int i = 0; i < 3; i++)
        if (!(blp_trade_texts[i] = PyUnicode_InternFromString(blp_trade_words[i]))) return -1;
    if (!(blp_utcoffset = PyUnicode_InternFromString("utcoffset"))) return -1;
    blp_type_texts[0] = PyUnicode_InternFromString("QUOTE");
    blp_type_texts[1] = PyUnicode_InternFromString("TRADE");
    return blp_type_texts[0] && blp_type_texts[1] ? 0 : -1;
}

/* A borrowed value, or NULL. */
static inline PyObject *blp_get(const void *of, int field) {
    PyObject *value = PyDict_GetItemWithError((PyObject *)of, blp_keys[field]);
    if (!value && PyErr_Occurred()) PyErr_Clear(); /* keys are strings: they are compared without fail */
    return value;
}

static int blp_dict_price(const void *of, int field, int64_t *price) {
    PyObject *value = blp_get(of, field);
    if (!value) return BLP_ABSENT;
    if (value == Py_None) return BLP_NULL;
    if (!PyFloat_CheckExact(value)) return BLP_STRANGE;
    return blp_price(PyFloat_AS_DOUBLE(value), price) ? BLP_GIVEN : BLP_STRANGE;
}

static int blp_dict_size(const void *of, int field, uint64_t *size) {
    PyObject *value = blp_get(of, field);
    if (!value) return BLP_ABSENT;
    if (value == Py_None) return BLP_NULL;
    if (PyFloat_CheckExact(value)) return blp_size(PyFloat_AS_DOUBLE(value), size) ? BLP_GIVEN : BLP_STRANGE;
    if (!PyLong_CheckExact(value)) return BLP_STRANGE;
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow || n < 0) return BLP_STRANGE;
    *size = (uint64_t)n;
    return BLP_GIVEN;
}

static int blp_dict_number(const void *of, int field, uint64_t *number) {
    PyObject *value = blp_get(of, field);
    if (!value) return BLP_ABSENT;
    if (value == Py_None) return BLP_NULL;
    if (PyUnicode_CheckExact(value)) {
        *number = 0;
        if (PyUnicode_IS_ASCII(value))
            *number = blp_number((const char *)PyUnicode_1BYTE_DATA(value), (size_t)PyUnicode_GET_LENGTH(value));
        return BLP_GIVEN;
    }
    if (!PyLong_CheckExact(value)) return BLP_STRANGE;
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow) return BLP_STRANGE;
    *number = n < 0 ? 0 : (uint64_t)n;
    return BLP_GIVEN;
}

/* Minutes east of UTC of a zone that is the same at all times; -1 if it is not known to be one. */
static int blp_minutes(PyObject *zone, int *minutes) {
    if (zone == Py_None) {
        *minutes = 0; /* subscriptions ask for GMT */
        return 0;
    }
    if (zone == blp_zone) {
        *minutes = blp_zone_minutes;
        return 0;
    }
    const char *name = strrchr(Py_TYPE(zone)->tp_name, '.');
    name = name ? name + 1 : Py_TYPE(zone)->tp_name;
    if (strcmp(name, "FixedOffset") && strcmp(name, "timezone")) return -1;
    PyObject *offset = PyObject_CallMethodOneArg(zone, blp_utcoffset, Py_None);
    if (!offset || !PyDelta_Check(offset)) {
        PyErr_Clear(); /* the decoder in Python meets it again, and says so */
        Py_XDECREF(offset);
        return -1;
    }
    int seconds = PyDateTime_DELTA_GET_DAYS(offset) * 86400 + PyDateTime_DELTA_GET_SECONDS(offset);
    int whole = seconds % 60 == 0 && !PyDateTime_DELTA_GET_MICROSECONDS(offset);
    Py_DECREF(offset);
    if (!whole) return -1;
    Py_INCREF(zone);
    Py_XSETREF(blp_zone, zone);
    *minutes = blp_zone_minutes = seconds / 60;
    return 0;
}

static inline int64_t blp_of_day(int hours, int minutes, int seconds, int microseconds) {
    return ((hours * 60 + minutes) * 60 + seconds) * INT64_C(1000000000) + microseconds * INT64_C(1000);
}

static int blp_dict_time(const void *of, int field, int64_t recv_ns, int64_t *at_ns) {
    PyObject *v = blp_get(of, field);
    int east;
    if (!v) return BLP_ABSENT;
    if (PyDateTime_CheckExact(v)) {
        if (blp_minutes(PyDateTime_DATE_GET_TZINFO(v), &east)) return BLP_STRANGE;
        int64_t of_day = blp_of_day(PyDateTime_DATE_GET_HOUR(v), PyDateTime_DATE_GET_MINUTE(v),
                                    PyDateTime_DATE_GET_SECOND(v), PyDateTime_DATE_GET_MICROSECOND(v));
        int64_t days = blp_days(PyDateTime_GET_YEAR(v), PyDateTime_GET_MONTH(v), PyDateTime_GET_DAY(v));
        return blp_stamp(PyDateTime_GET_YEAR(v), days, of_day, east, recv_ns, at_ns) ? BLP_GIVEN : BLP_NULL;
    }
    if (PyTime_CheckExact(v)) {
        if (blp_minutes(PyDateTime_TIME_GET_TZINFO(v), &east)) return BLP_STRANGE;
        int64_t of_day = blp_of_day(PyDateTime_TIME_GET_HOUR(v), PyDateTime_TIME_GET_MINUTE(v),
                                    PyDateTime_TIME_GET_SECOND(v), PyDateTime_TIME_GET_MICROSECOND(v));
        return blp_time_of_day(of_day, east, recv_ns, at_ns) ? BLP_GIVEN : BLP_NULL;
    }
    return PyDateTime_Check(v) || PyTime_Check(v) ? BLP_STRANGE : BLP_NULL; /* a date alone says nothing */
}

/* Which of n texts it is; -1 for none. */
static inline int blp_which(PyObject *value, PyObject *const *texts, int n) {
    for (int i = 0; i < n; i++)
        if (value == texts[i]) return i;
    if (value && PyUnicode_CheckExact(value))
        for (int i = 0; i < n; i++)
            if (PyUnicode_Compare(value, texts[i]) == 0) return i;
    return -1;
}

/* The kind of an ordinary message, for `blp_decode`; else 0. */
static inline int blp_dict_kind(PyObject *message) {
    int type = blp_which(blp_get(message, BLP_TYPE), blp_type_texts, 2);
    if (type < 0) return 0;
    PyObject *subtype = blp_get(message, BLP_SUBTYPE);
    if (type == 0) return blp_which(subtype, blp_quote_texts, 4) < 0 ? 0 : BLP_QUOTE;
    int trade = blp_which(subtype, blp_trade_texts, 3); /* in the order of the ticks' kinds */
    return trade < 0 ? 0 : MDF_TRADE + trade;
}

static int blp_dict_flag(const void *of, int field, int *flag) {
    PyObject *value = blp_get(of, field);
    if (!value) return BLP_ABSENT;
    if (value == Py_None) return BLP_NULL;
    *flag = value == Py_True;
    return value == Py_True || value == Py_False ? BLP_GIVEN : BLP_STRANGE;
}

static int blp_decode_dict(blp_decoder *d, blp_touch *t, PyObject *message, int64_t recv_ns) {
    blp_source source = {message, blp_dict_price, blp_dict_size, blp_dict_number, blp_dict_time, blp_dict_flag};
    return blp_decode(d, t, blp_dict_kind(message), &source, recv_ns);
}

#endif
