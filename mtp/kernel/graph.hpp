// The contraction graph for W atoms at a time, one per lane, as reverse-mode differentiation of
// E = sum_k xi_k moment[mapping_k]. The reverse sums gather all uses of a moment instead of adding
// to two moments per product: no store waits for another. Included inside each variant's namespace.

template <class Node>
MTP_INLINE const Node &at(const Node *nodes, uint32_t offset) {
    return *(const Node *)((const char *)nodes + uint64_t(offset) * (sizeof(Node) / 32));
}

MTP_INLINE vec sum_of(const Run &run, const Factors *factors, const vec *a, const vec *b) {
    vec even = splat(0), odd = splat(0);
    int k = run.begin;
    for (; k + 1 < run.end; k += 2) {
        even += at(a, factors[k].a) * at(b, factors[k].b);
        odd += at(a, factors[k + 1].a) * at(b, factors[k + 1].b);
    }
    if (k < run.end) even += at(a, factors[k].a) * at(b, factors[k].b);
    return run.c * (even + odd);
}

MTP_INLINE void forward(const Tables &t, vec *m) {
    for (int n = t.basics; n < t.nodes; ++n) m[n] = splat(0);
    for (const Run *run = t.run; run < t.run + t.runs; ++run)
        m[run->node] += sum_of(*run, t.factors, m, m);
}

// Adjoints of all nodes from those given for the scalars.
MTP_INLINE void reverse_seeded(const Tables &t, const vec *m, vec *g) {
    for (const Run *run = t.use; run < t.use + t.uses; ++run)
        g[run->node] += sum_of(*run, t.use_factors, g, m);
}

// g = dE/dmoment for all nodes.
MTP_INLINE void reverse(const Tables &t, const vec *m, vec *g) {
    for (int n = 0; n < t.nodes; ++n) g[n] = splat(0);
    for (int k = 0; k < t.scalars; ++k) g[t.mapping[k]] += t.moment_coeff[k];
    reverse_seeded(t, m, g);
}

// A moment with its change along the direction of the pass, and likewise their adjoints.
struct Dual {
    vec value, change;
};

MTP_INLINE void forward(const Tables &t, Dual *m) {
    for (int n = t.basics; n < t.nodes; ++n) m[n] = {splat(0), splat(0)};
    for (const Run *run = t.run; run < t.run + t.runs; ++run) {
        vec value = splat(0), left = splat(0), right = splat(0);
        for (int k = run->begin; k < run->end; ++k) {
            const Dual &a = at(m, t.factors[k].a), &b = at(m, t.factors[k].b);
            value += a.value * b.value;
            left += a.change * b.value;
            right += a.value * b.change;
        }
        m[run->node].value += run->c * value;
        m[run->node].change += run->c * (left + right);
    }
}

// Adjoints of T = sum_k xi_k (weight value_k + change_k): g.value by `value`, g.change by `change`.
MTP_INLINE void reverse(const Tables &t, const Dual *m, vec weight, Dual *g) {
    for (int n = 0; n < t.nodes; ++n) g[n] = {splat(0), splat(0)};
    for (int k = 0; k < t.scalars; ++k) {
        g[t.mapping[k]].change += t.moment_coeff[k];
        g[t.mapping[k]].value += t.moment_coeff[k] * weight;
    }
    for (const Run *run = t.use; run < t.use + t.uses; ++run) {
        vec change = splat(0), left = splat(0), right = splat(0);
        for (int k = run->begin; k < run->end; ++k) {
            const Dual &from = at(g, t.use_factors[k].a), &other = at(m, t.use_factors[k].b);
            change += from.change * other.value;
            left += from.value * other.value;
            right += from.change * other.change;
        }
        g[run->node].change += run->c * change;
        g[run->node].value += run->c * (left + right);
    }
}

// The second derivatives of E along a change of the moments, m and g known: dg = d2E/dm2 dm.
MTP_INLINE void second_derivatives(const Tables &t, const vec *m, const vec *g, vec *dm, vec *dg) {
    for (int n = t.basics; n < t.nodes; ++n) dm[n] = splat(0);
    for (const Run *run = t.run; run < t.run + t.runs; ++run)
        dm[run->node] += sum_of(*run, t.factors, dm, m) + sum_of(*run, t.factors, m, dm);
    for (int n = 0; n < t.nodes; ++n) dg[n] = splat(0);
    for (const Run *run = t.use; run < t.use + t.uses; ++run)
        dg[run->node] += sum_of(*run, t.use_factors, dg, m) + sum_of(*run, t.use_factors, g, dm);
}
