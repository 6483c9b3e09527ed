// One atom and its neighbours: radial functions, monomials, basic moments, and the polynomials that
// carry adjoints of the moments back to the neighbours. Vectors run over neighbours.
// Included inside the namespace of each variant.

// T_k(x) and its derivative by r for W distances, with the cutoff factor (R - r)^2 and its slope.
struct Chebyshev {
    Buffer memory;
    vec *value, *slope, factor, factor_slope;

    void evaluate(const Tables &t, vec r) {
        value = (vec *)memory.need(2 * W * (t.radial_size + 1));
        slope = value + t.radial_size + 1;
        const double scale = 2 / (t.max_dist - t.min_dist);
        const vec x = scale * (r - 0.5 * (t.max_dist + t.min_dist));
        const vec rest = positive(t.max_dist - r);
        factor = rest * rest;
        factor_slope = -2 * rest;
        value[0] = splat(1);
        slope[0] = splat(0);
        value[1] = x;
        slope[1] = splat(scale);
        for (int k = 2; k < t.radial_size; ++k) {
            value[k] = 2 * x * value[k - 1] - value[k - 2];
            slope[k] = 2 * scale * value[k - 1] + 2 * x * slope[k - 1] - slope[k - 2];
        }
    }
};

struct Site {
    Buffer memory, powers, bounds;
    Chebyshev chebyshev;
    int count, vectors, stride;              // stride: doubles per row of this atom
    double *u[3], *r, *inverse, *f, *d, *p;  // rows: unit vector, length, its inverse; f and f' by
    int *begin;                              // radial index; monomials. begin: by species

    static int64_t kept_rows(const Tables &t) { return 5 + 2 * t.radial_count; }
    static int64_t row_length(int64_t count) { return W * ((count + W - 1) / W + 1); }

    // `kept`: memory for what `again` need not compute, by default the site's own.
    void build(const Tables &t, const Pairs &pairs, int64_t atom, const int *types, double *kept = nullptr) {
        place(t, pairs, atom, types, kept);
        geometry(pairs, pairs.first[atom]);
        radial(t, pairs.types[atom]);
        monomials(t);
    }

    // After a `build` into `kept`, maybe of another site.
    void again(const Tables &t, const Pairs &pairs, int64_t atom, const int *types, double *kept) {
        place(t, pairs, atom, types, kept);
        monomials(t);
    }

    void place(const Tables &t, const Pairs &pairs, int64_t atom, const int *types, double *kept) {
        const int64_t first = pairs.first[atom];
        count = int(pairs.first[atom + 1] - first);
        vectors = (count + W - 1) / W;
        stride = int(row_length(count));
        double *row = kept ? kept : memory.need(stride * kept_rows(t));
        for (int k = 0; k < 3; ++k, row += stride) u[k] = row;
        r = row;
        inverse = r + stride;
        f = inverse + stride;
        d = f + int64_t(t.radial_count) * stride;
        p = powers.need(int64_t(stride) * t.monomials);
        begin = (int *)bounds.need(t.species + 2);
        for (int s = 0, n = 0; s <= t.species; ++s) {
            while (n < count && types[pairs.index[first + n]] < s) ++n;
            begin[s] = n;
        }
    }

    void geometry(const Pairs &pairs, int64_t first) {
        for (int i = 0; i < W * vectors; i += W) {
            const vec x = load(pairs.x + first + i), y = load(pairs.y + first + i);
            const vec z = load(pairs.z + first + i), length = root(x * x + y * y + z * z), one = 1 / length;
            store(r + i, length);
            store(inverse + i, one);
            store(u[0] + i, x * one);
            store(u[1] + i, y * one);
            store(u[2] + i, z * one);
        }
        store(r + W * vectors, splat(1));
    }

    // f_mu(r) = (R - r)^2 sum_k c_k T_k. A vector that reaches into the next species writes wrong
    // lanes there, which that species overwrites: no padding between species. Lanes behind the last
    // neighbour get f = f' = 0, so that they contribute nothing anywhere.
    void radial(const Tables &t, int central) {
        const int size = t.radial_size;
        for (int s = 0; s < t.species; ++s) {
            const double *c = t.radial + (int64_t(central) * t.species + s) * t.radial_count * size;
            for (int i = begin[s]; i < begin[s + 1]; i += W) {
                chebyshev.evaluate(t, load(r + i));
                int mu = 0;
                for (; mu + 4 <= t.radial_count; mu += 4) radial_of<4>(c, size, mu, i);
                for (; mu < t.radial_count; ++mu) radial_of<1>(c, size, mu, i);
            }
        }
        for (int row = 0; row < 2 * t.radial_count; ++row)
            for (int i = count; i < W * vectors; ++i) f[row * stride + i] = 0;
    }

    template <int N>  // sums at a time: one would wait for its own last addition
    void radial_of(const double *c, int size, int mu, int i) {
        vec value[N], slope[N];
        for (int n = 0; n < N; ++n) value[n] = slope[n] = splat(0);
        for (int k = 0; k < size; ++k)
            for (int n = 0; n < N; ++n) {
                value[n] += c[(mu + n) * size + k] * chebyshev.value[k];
                slope[n] += c[(mu + n) * size + k] * chebyshev.slope[k];
            }
        for (int n = 0; n < N; ++n) {
            store(f + (mu + n) * stride + i, value[n] * chebyshev.factor);
            store(d + (mu + n) * stride + i,
                  slope[n] * chebyshev.factor + value[n] * chebyshev.factor_slope);
        }
    }

    void monomials(const Tables &t) {
        for (int i = 0; i < W * vectors; ++i) p[i] = 1;
        for (int a = 1; a < t.monomials; ++a) {
            const double *from = p + int64_t(t.parent[a]) * stride, *by = u[t.axis[a]];
            double *to = p + int64_t(a) * stride;
            for (int i = 0; i < W * vectors; i += W) store(to + i, load(from + i) * load(by + i));
        }
    }

    // moment[b] = sum_j f_mu(r_j) P_b(u_j); `out` steps over the atoms in the lanes.
    void moments(const Tables &t, double *out) const {
        for (int mu = 0; mu < t.radial_count; ++mu) {
            const int *monomial = t.basic_monomial, *basic = t.basic_index;
            const double *w = f + int64_t(mu) * stride;
            int n = t.basic_begin[mu];
            for (; n + 8 <= t.basic_begin[mu + 1]; n += 8) moments_of<8>(w, monomial + n, basic + n, out);
            for (; n + 3 <= t.basic_begin[mu + 1]; n += 3) moments_of<3>(w, monomial + n, basic + n, out);
            for (; n < t.basic_begin[mu + 1]; ++n) moments_of<1>(w, monomial + n, basic + n, out);
        }
    }

    template <int N>
    void moments_of(const double *w, const int *monomial, const int *basic, double *out) const {
        const double *row[N];
        vec total[N];
        for (int n = 0; n < N; ++n) {
            row[n] = p + int64_t(monomial[n]) * stride;
            total[n] = splat(0);
        }
        for (int i = 0; i < W * vectors; i += W) {
            const vec weight = load(w + i);
            for (int n = 0; n < N; ++n) total[n] += weight * load(row[n] + i);
        }
        for (int n = 0; n < N; ++n) out[W * basic[n]] = sum(total[n]);
    }

    // The adjoint of `tangent_moments`: for every neighbour Q = sum_b g_b P_b and its gradient by u.
    // Results in rows of `out`: Q, dQ/dux, dQ/duy, dQ/duz of radial index mu at row 4 mu.
    // coefficient: (terms, 4) values gathered by `gather`.
    void polynomials(const Tables &t, const double *coefficient, double *out) const {
        for (int mu = 0; mu < t.radial_count; ++mu, out += 4 * stride) {
            int v = 0;
            if constexpr (W == 8) {  // with its 32 registers
                for (; vectors - v == 4 || vectors - v > 6; v += 4)
                    polynomials_of<4>(t, mu, coefficient, W * v, out);
                for (; v + 3 <= vectors; v += 3) polynomials_of<3>(t, mu, coefficient, W * v, out);
            }
            for (; v + 2 <= vectors; v += 2) polynomials_of<2>(t, mu, coefficient, W * v, out);
            for (; v < vectors; ++v) polynomials_of<1>(t, mu, coefficient, W * v, out);
        }
    }

    template <int N>
    void polynomials_of(const Tables &t, int mu, const double *coefficient, int i, double *out) const {
        vec q[N], gx[N], gy[N], gz[N];
        for (int n = 0; n < N; ++n) q[n] = gx[n] = gy[n] = gz[n] = splat(0);
        const int *range = t.term_begin + 2 * mu;
        for (int k = range[0]; k < range[1]; ++k) {
            const double *row = p + int64_t(t.terms[k].monomial) * stride + i, *c = coefficient + 4 * k;
            for (int n = 0; n < N; ++n) {
                const vec monomial = load(row + W * n);
                q[n] += c[0] * monomial;
                gx[n] += c[1] * monomial;
                gy[n] += c[2] * monomial;
                gz[n] += c[3] * monomial;
            }
        }
        for (int k = range[1]; k < range[2]; ++k) {
            const double *row = p + int64_t(t.terms[k].monomial) * stride + i, c = coefficient[4 * k];
            for (int n = 0; n < N; ++n) q[n] += c * load(row + W * n);
        }
        for (int n = 0; n < N; ++n) {
            store(out + i + W * n, q[n]);
            store(out + stride + i + W * n, gx[n]);
            store(out + 2 * stride + i + W * n, gy[n]);
            store(out + 3 * stride + i + W * n, gz[n]);
        }
    }

    // out_mu = sum_b g_b P_b for every neighbour, one row per radial index.
    void values(const Tables &t, const double *coefficient, double *out) const {
        for (int mu = 0; mu < t.radial_count; ++mu, out += stride) {
            int v = 0;
            for (; v + 8 <= vectors; v += 8) values_of<8>(t, mu, coefficient, W * v, out);
            values_of_rest<7>(t, mu, coefficient, v, out);
            store(out + W * vectors, splat(0));  // read, times zero, by a vector that reaches here
        }
    }

    template <int N>
    void values_of_rest(const Tables &t, int mu, const double *coefficient, int v, double *out) const {
        if (vectors - v == N)
            values_of<N>(t, mu, coefficient, W * v, out);
        else if constexpr (N > 1)
            values_of_rest<N - 1>(t, mu, coefficient, v, out);
    }

    template <int N>
    void values_of(const Tables &t, int mu, const double *coefficient, int i, double *out) const {
        vec q[N];
        for (int n = 0; n < N; ++n) q[n] = splat(0);
        for (int k = t.basic_begin[mu]; k < t.basic_begin[mu + 1]; ++k) {
            const double *row = p + int64_t(t.basic_monomial[k]) * stride + i;
            const double c = coefficient[t.basic_index[k]];
            for (int n = 0; n < N; ++n) q[n] += c * load(row + W * n);
        }
        for (int n = 0; n < N; ++n) store(out + i + W * n, q[n]);
    }

    // Change of the moments when neighbours move: weight rows a = f' dr, b = f du (x, y, z) per
    // radial index; moment'[b] += sum_j a_j P_b + b_j . grad P_b.
    void tangent_moments(const Tables &t, const double *weight, double *moment) const {
        for (int mu = 0; mu < t.radial_count; ++mu, weight += 4 * stride) {
            const int *range = t.term_begin + 2 * mu;
            int k = range[0];
            for (; k + 3 <= range[1]; k += 3) tangent_of<3>(t.terms + k, weight, moment);
            for (; k < range[1]; ++k) tangent_of<1>(t.terms + k, weight, moment);
            for (; k + 8 <= range[2]; k += 8) tangent_of_values<8>(t.terms + k, weight, moment);
            for (; k < range[2]; ++k) tangent_of_values<1>(t.terms + k, weight, moment);
        }
    }

    template <int N>
    void tangent_of_values(const Term *term, const double *weight, double *moment) const {
        vec total[N];
        for (int n = 0; n < N; ++n) total[n] = splat(0);
        for (int i = 0; i < W * vectors; i += W) {
            const vec a = load(weight + i);
            for (int n = 0; n < N; ++n) total[n] += a * load(p + int64_t(term[n].monomial) * stride + i);
        }
        for (int n = 0; n < N; ++n) moment[term[n].basic[0]] += term[n].factor[0] * sum(total[n]);
    }

    template <int N>
    void tangent_of(const Term *term, const double *weight, double *moment) const {
        vec total[N][4];
        const double *row[N];
        for (int n = 0; n < N; ++n) {
            row[n] = p + int64_t(term[n].monomial) * stride;
            for (int k = 0; k < 4; ++k) total[n][k] = splat(0);
        }
        for (int i = 0; i < W * vectors; i += W) {
            const vec a = load(weight + i), x = load(weight + stride + i);
            const vec y = load(weight + 2 * stride + i), z = load(weight + 3 * stride + i);
            for (int n = 0; n < N; ++n) {
                const vec monomial = load(row[n] + i);
                total[n][0] += a * monomial;
                total[n][1] += x * monomial;
                total[n][2] += y * monomial;
                total[n][3] += z * monomial;
            }
        }
        for (int n = 0; n < N; ++n)
            for (int k = 0; k < 4; ++k)
                moment[term[n].basic[k]] += term[n].factor[k] * sum(total[n][k]);
    }
};

// Coefficients of the polynomials of all radial indices from adjoints g of the basic moments.
MTP_INLINE void gather(const Tables &t, const double *g, double *coefficient) {
    const int terms = t.term_begin[2 * t.radial_count];
    for (int k = 0; k < terms; ++k)
        for (int s = 0; s < 4; ++s)
            coefficient[4 * k + s] = t.terms[k].factor[s] * g[t.terms[k].basic[s]];
}
