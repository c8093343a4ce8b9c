/* Forgets what both_reals.h defines for one type. */

#undef SUFFIX
#undef REAL
#undef REAL_INT
#undef REAL_BITS
#undef RL
#undef REAL_SIGN
#undef REAL_MANTISSA
#undef REAL_BIAS
#undef REAL_WHOLE
#undef REAL_WHOLE_BITS
#undef REAL_FRACTION
#undef REAL_ONE
#undef EXP_LOW
#undef EXP_HIGH
#undef EXP_MAGIC
#undef EXP_LN2_HIGH
#undef EXP_LN2_LOW
#undef EXP_TERMS
#undef LOG_TERMS_R
#undef LOG_LN2_HIGH
#undef LOG_LN2_LOW
