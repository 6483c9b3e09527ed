// The contraction graph for four atoms at a time, one per lane, as reverse-mode differentiation of
// E = sum_k xi_k moment[mapping_k]. Included inside the namespace of each variant.

MTP_INLINE void forward(const Tables &t, v4 *m) {
    for (int n = t.basics; n < t.nodes; ++n) m[n] = splat(0);
    for (const Run *run = t.run; run < t.run + t.runs; ++run) {
        v4 total = m[run->target];
        for (int k = run->begin; k < run->end; ++k) {
            const Product &p = t.products[k];
            total += p.c * (m[p.a] * m[p.b]);
        }
        m[run->target] = total;
    }
}

// Adjoints of all nodes from those given for the scalars.
MTP_INLINE void reverse_seeded(const Tables &t, const v4 *m, v4 *g) {
    for (const Run *run = t.run + t.runs; run-- > t.run;) {
        const v4 from = g[run->target];
        for (int k = run->end; k-- > run->begin;) {
            const Product &p = t.products[k];
            const v4 c = p.c * from;
            g[p.a] += c * m[p.b];
            g[p.b] += c * m[p.a];
        }
    }
}

// g = dE/dmoment for all nodes.
MTP_INLINE void reverse(const Tables &t, const v4 *m, v4 *g) {
    for (int n = 0; n < t.nodes; ++n) g[n] = splat(0);
    for (int k = 0; k < t.scalars; ++k) g[t.mapping[k]] += t.moment_coeff[k];
    reverse_seeded(t, m, g);
}

// A moment with its change along the direction of the pass, and likewise their adjoints.
struct Dual {
    v4 value, change;
};

MTP_INLINE void forward(const Tables &t, Dual *m) {
    for (int n = t.basics; n < t.nodes; ++n) m[n] = {splat(0), splat(0)};
    for (const Run *run = t.run; run < t.run + t.runs; ++run) {
        Dual total = m[run->target];
        for (int k = run->begin; k < run->end; ++k) {
            const Product &p = t.products[k];
            const v4 a = p.c * m[p.a].value;
            total.value += a * m[p.b].value;
            total.change += a * m[p.b].change + p.c * m[p.a].change * m[p.b].value;
        }
        m[run->target] = total;
    }
}

// Adjoints of T = sum_k xi_k (weight value_k + change_k): g.value by `value`, g.change by `change`.
MTP_INLINE void reverse(const Tables &t, const Dual *m, v4 weight, Dual *g) {
    for (int n = 0; n < t.nodes; ++n) g[n] = {splat(0), splat(0)};
    for (int k = 0; k < t.scalars; ++k) {
        g[t.mapping[k]].change += t.moment_coeff[k];
        g[t.mapping[k]].value += t.moment_coeff[k] * weight;
    }
    for (const Run *run = t.run + t.runs; run-- > t.run;) {
        const Dual from = g[run->target];
        for (int k = run->end; k-- > run->begin;) {
            const Product &p = t.products[k];
            const v4 c = p.c * from.change, v = p.c * from.value;
            const Dual a = m[p.a], b = m[p.b];
            g[p.a].change += c * b.value;
            g[p.a].value += v * b.value + c * b.change;
            g[p.b].change += c * a.value;
            g[p.b].value += v * a.value + c * a.change;
        }
    }
}
