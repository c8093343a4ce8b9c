/* The score that the best split maximises. The sequence of operations is that of the NumPy reference. */

/* w, s: weight and weighted target (or weight of class 1) left of the split and in the node */
INLINE VF ISA(score_packed)(const int entropy, VF w_left, VF s_left, VF w, VF s) {
    VF w_right = w - w_left;
    if (!entropy) { /* (W s_L - w_L S)^2 / (w_L w_R) */
        VF d = w * s_left - w_left * s;
        return (d * d) / (w_left * w_right);
    }
    VF zero_left = w_left - s_left, s_right = s - s_left, zero_right = (w - s) - zero_left;
    VF left = ISA(x_log_x)(zero_left) + ISA(x_log_x)(s_left);
    VF right = ISA(x_log_x)(zero_right) + ISA(x_log_x)(s_right);
    return (left - ISA(x_log_x)(w_left)) + (right - ISA(x_log_x)(w_right));
}
