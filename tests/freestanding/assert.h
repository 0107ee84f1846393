/* stb_ds.h includes it; the core asserts with MPS_ASSERT. */
#define assert(x) ((void)0)
