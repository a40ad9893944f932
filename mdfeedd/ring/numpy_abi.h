/* The public fields of a numpy array, as its C API documents them (PyArrayObject_fields; the same in numpy 1
 * and 2). Declared here so that building needs no numpy headers, and publishing one record from Python costs
 * a few loads instead of a buffer request (1 to 2 us for a structured dtype). mdfeedd.ring checks at import
 * that an array looks like this. */
#ifndef MDFEEDD_NUMPY_ABI_H
#define MDFEEDD_NUMPY_ABI_H
#include <Python.h>

typedef struct mdf_ndarray {
    PyObject_HEAD
    char *data;
    int nd;
    Py_ssize_t *dimensions;
    Py_ssize_t *strides;
    PyObject *base;
    PyObject *descr;
    int flags;
} mdf_ndarray;

enum { MDF_NDARRAY_C_CONTIGUOUS = 1, MDF_NDARRAY_WRITEABLE = 0x400 };
#endif
