// Derivatives by all coefficients: of site energies, and of energy, forces and stress of a whole
// configuration for second-order training. Included inside the namespace of each variant.

constexpr int LAST = (9 + W - 1) / W * W;  // rows behind those of the neighbours

static int64_t radial_block(const Tables &t) { return int64_t(t.species) * t.radial_count * t.radial_size; }

void site_rows(const Tables &t, const Pairs &pairs, int64_t begin, int64_t end, double *rows) {
    Worker w(t, pairs);
    const int64_t block = radial_block(t), radial = block * t.species;
    const int64_t width = radial + t.species + t.scalars, origin = pairs.atom_begin[begin];
    for (int64_t c = begin; c < end; ++c)
        for (int64_t i = pairs.atom_begin[c]; i < pairs.atom_begin[c + 1]; i += W) {
            const int64_t left = pairs.atom_begin[c + 1] - i;
            const int lanes = left < W ? int(left) : W;
            vec *m = (vec *)w.moments.need(W * (t.nodes + 1)), *g = (vec *)w.adjoints.need(W * (t.nodes + 1));
            for (int n = 0; n < t.basics; ++n) m[n] = splat(0);
            for (int l = 0; l < lanes; ++l) {
                w.site[l].build(t, pairs, i + l, w.types(c));
                w.site[l].moments(t, (double *)m + l);
            }
            forward(t, m);
            reverse(t, m, g);
            for (int l = 0; l < lanes; ++l) {
                double *row = rows + (i + l - origin) * width;
                const int central = pairs.types[i + l];
                Site &s = w.site[l];
                double *flat = w.gathered.need(t.basics + 1);
                for (int n = 0; n < t.basics; ++n) flat[n] = g[n][l];
                double *y = w.rows.need(int64_t(t.radial_count) * s.stride);
                s.values(t, flat, y);
                vec *total = (vec *)w.radial_sums.need(W * block);
                for (int64_t k = 0; k < block; ++k) total[k] = splat(0);
                w.project(s, y, nullptr, total);
                for (int64_t k = 0; k < width; ++k) row[k] = 0;
                for (int64_t k = 0; k < block; ++k) row[central * block + k] = t.scaling * sum(total[k]);
                row[radial + central] = 1;
                for (int k = 0; k < t.scalars; ++k) row[radial + t.species + k] = m[t.mapping[k]][l];
            }
        }
}

// Every row of a configuration is the sum over its sites i of dm_b/dx (n x basics) times
// [d2V/dm_b dc | dB_k/dm_b] (basics x columns), plus the part where c enters dm_b/dx directly.
struct Jacobian {
    Worker w;
    const Tables &t;
    const Pairs &pairs;
    Buffer right_memory, left_memory, phi_memory, total_memory, change_memory, result_memory;
    double **target;  // row of the result for every row of the left matrix
    Buffer target_memory;
    double *phi = nullptr, *slope = nullptr, *rows;
    int columns = 0;
    int64_t block, width, linear_begin;
    bool linear;

    Jacobian(const Tables &tables, const Pairs &p, bool linear_only, double *out)
        : w(tables, p), t(tables), pairs(p), rows(out), block(radial_block(tables)), linear(linear_only) {
        linear_begin = linear ? 0 : block * t.species;
        width = linear_begin + t.species + t.scalars;
    }

    void site(int64_t c, int64_t atom) {
        Site &s = w.site[0];
        s.build(t, pairs, atom, w.types(c));
        vec *m = (vec *)w.moments.need(W * (t.nodes + 1));
        s.moments(t, (double *)m);
        for (int n = 0; n < t.basics; ++n) m[n] = splat(m[n][0]);
        forward(t, m);
        const int central = pairs.types[atom];
        for (int k = 0; k < t.scalars; ++k) rows[linear_begin + t.species + k] += m[t.mapping[k]][0];
        rows[linear_begin + central] += 1;
        const int64_t height = left(c, atom, s);
        add_product(height, scalar_gradients(m), t.scalars, linear_begin + t.species);
        if (linear) return;
        vec *g = (vec *)w.adjoints.need(W * (t.nodes + 1));
        reverse(t, m, g);
        basis_functions(s);
        add_product(height, mixed_derivatives(s, m, g), block, central * block);
        direct(atom, s, (const double *)g, central * block);
    }

    // dm_b/dr of every neighbour: rows by axis and neighbour, then minus their sum (the atom itself)
    // and the six of the stress. Stored by moment: left[b * height + row]. Returns the height.
    int64_t left(int64_t c, int64_t atom, const Site &s) {
        const int64_t height = 3 * int64_t(W * s.vectors) + LAST, n = W * s.vectors;
        double *a = left_memory.need(height * t.basics);
        for (int mu = 0; mu < t.radial_count; ++mu)
            for (int k = t.basic_begin[mu]; k < t.basic_begin[mu + 1]; ++k)
                left_column(s, mu, k, pairs.first[atom], a + W * t.basic_index[k]);
        target = (double **)target_memory.need(height);
        const int *index = pairs.index + pairs.first[atom];
        const int64_t own = atom - pairs.atom_begin[c], atoms = pairs.atom_begin[c + 1] - pairs.atom_begin[c];
        for (int axis = 0; axis < 3; ++axis) {
            for (int i = 0; i < n; ++i)
                target[axis * n + i] =
                    i < s.count ? rows + (1 + 3 * int64_t(index[i]) + axis) * width : nullptr;
            target[3 * n + axis] = rows + (1 + 3 * own + axis) * width;
        }
        for (int k = 0; k < 6; ++k) target[3 * n + 3 + k] = rows + (1 + 3 * atoms + k) * width;
        for (int k = 9; k < LAST; ++k) target[3 * n + k] = nullptr;
        return height;
    }

    void left_column(const Site &s, int mu, int k, int64_t first, double *out) const {
        const int *power = t.basic_powers + 3 * k, *lower = t.basic_lower + 3 * k;
        const double degree = power[0] + power[1] + power[2];
        const int n = W * s.vectors;
        const int64_t tile = t.basics;
        vec total[9] = {};
        for (int i = 0; i < n; i += W) {
            const vec f = load(s.f + mu * s.stride + i) * load(s.inverse + i);
            const vec along = (load(s.d + mu * s.stride + i) - degree * f) *
                             load(s.p + int64_t(t.basic_monomial[k]) * s.stride + i);
            vec a[3];
            for (int axis = 0; axis < 3; ++axis) {
                a[axis] = load(s.u[axis] + i) * along +
                          power[axis] * f * load(s.p + int64_t(lower[axis]) * s.stride + i);
                store(out + (axis * n + i) * tile, -a[axis]);
                total[axis] += a[axis];
            }
            const vec x = load(pairs.x + first + i), y = load(pairs.y + first + i);
            const vec z = load(pairs.z + first + i);
            total[3] -= x * a[0];
            total[4] -= y * a[1];
            total[5] -= z * a[2];
            total[6] -= y * a[2];
            total[7] -= x * a[2];
            total[8] -= x * a[1];
        }
        for (int row = 0; row < LAST; ++row)
            out[(3 * n + row / W * W) * tile + row % W] = row < 9 ? sum(total[row]) : 0;
    }

    // right[b, k] = dB_k/dm_b, W scalars at a time.
    const double *scalar_gradients(const vec *m) {
        const int64_t ld = (t.scalars + W - 1) / W * W;
        double *right = right_memory.need(ld * t.basics);
        vec *g = (vec *)w.adjoints.need(W * (t.nodes + 1));
        for (int k = 0; k < t.scalars; k += W) {
            for (int n = 0; n < t.nodes; ++n) g[n] = splat(0);
            for (int l = 0; l < W && k + l < t.scalars; ++l) g[t.mapping[k + l]][l] += 1;
            reverse_seeded(t, m, g);
            for (int n = 0; n < t.basics; ++n) store(right + n * ld + k, g[n]);
        }
        return right;
    }

    // phi_k(r_j) by neighbour, then its slope: rows of `columns` values.
    void basis_functions(Site &s) {
        columns = (t.radial_size + W - 1) / W * W;
        phi = phi_memory.need(2 * int64_t(columns) * s.stride);
        slope = phi + int64_t(columns) * s.stride;
        for (int64_t k = 0; k < 2 * int64_t(columns) * s.stride; ++k) phi[k] = 0;
        for (int i = 0; i < W * s.vectors; i += W) {
            s.chebyshev.evaluate(t, load(s.r + i));
            for (int k = 0; k < t.radial_size; ++k) {
                const vec value = t.scaling * s.chebyshev.value[k], change = t.scaling * s.chebyshev.slope[k];
                const vec f = value * s.chebyshev.factor;
                const vec d = change * s.chebyshev.factor + value * s.chebyshev.factor_slope;
                for (int l = 0; l < W; ++l) {
                    phi[(i + l) * columns + k] = f[l];
                    slope[(i + l) * columns + k] = d[l];
                }
            }
        }
    }

    // right[b, column] = sum_b' d2V/dm_b dm_b' dm_b'/dc_column, W k of a species and mu at a time.
    const double *mixed_derivatives(const Site &s, const vec *m, const vec *g) {
        const int64_t ld = (block + W - 1) / W * W;
        double *right = right_memory.need(ld * t.basics);
        for (int64_t k = 0; k < ld * t.basics; ++k) right[k] = 0;
        vec *change = (vec *)change_memory.need(W * (t.nodes + 1));
        vec *result = (vec *)result_memory.need(W * (t.nodes + 1));
        for (int other = 0; other < t.species; ++other)
            for (int mu = 0; mu < t.radial_count; ++mu)
                for (int k = 0; k < t.radial_size && s.begin[other] < s.begin[other + 1]; k += W) {
                    seed(s, other, mu, k, change);
                    second_derivatives(t, m, g, change, result);
                    double *to = right + (int64_t(other) * t.radial_count + mu) * t.radial_size + k;
                    for (int n = 0; n < t.basics; ++n)
                        for (int l = 0; l < W && k + l < t.radial_size; ++l) to[n * ld + l] = result[n][l];
                }
        return right;
    }

    // dm_b/dc = sum_j phi_k P_b over the neighbours of one species, W k in the lanes.
    void seed(const Site &s, int other, int mu, int k, vec *change) const {
        for (int n = 0; n < t.basics; ++n) change[n] = splat(0);
        for (int n = t.basic_begin[mu]; n < t.basic_begin[mu + 1]; ++n) {
            const double *p = s.p + int64_t(t.basic_monomial[n]) * s.stride;
            vec total = splat(0);
            for (int i = s.begin[other]; i < s.begin[other + 1]; ++i)
                total += p[i] * load(phi + int64_t(i) * columns + k);
            change[t.basic_index[n]] = total;
        }
    }

    // rows[target, offset + column] += left^T right, in tiles of W rows by 3 W columns.
    void add_product(int64_t height, const double *right, int64_t count, int64_t offset) {
        const int64_t ld = (count + W - 1) / W * W;
        const double *left = left_memory.need(0);
        for (int64_t column = 0; column < ld; column += 3 * W)
            for (int64_t row = 0; row < height; row += W) {
                const int64_t vectors = (ld - column) / W;
                if (vectors >= 3)
                    tile<3>(left + row * t.basics, right + column, ld, row, count - column, offset + column);
                else if (vectors == 2)
                    tile<2>(left + row * t.basics, right + column, ld, row, count - column, offset + column);
                else
                    tile<1>(left + row * t.basics, right + column, ld, row, count - column, offset + column);
            }
    }

    template <int N>
    void tile(const double *a, const double *b, int64_t ld, int64_t row, int64_t count,
              int64_t offset) {
        vec total[W][N];
        for (int r = 0; r < W; ++r)
            for (int n = 0; n < N; ++n) total[r][n] = splat(0);
        for (int m = 0; m < t.basics; ++m, a += W, b += ld) {
            vec value[N];
            for (int n = 0; n < N; ++n) value[n] = load(b + W * n);
            for (int r = 0; r < W; ++r)
                for (int n = 0; n < N; ++n) total[r][n] += a[r] * value[n];
        }
        for (int r = 0; r < W; ++r) {
            double *out = target[row + r];
            if (!out) continue;
            for (int n = 0; n < N; ++n)
                if (count >= W * n + W)
                    add(out + offset + W * n, total[r][n]);
                else
                    for (int64_t l = 0; l < count - W * n; ++l) out[offset + W * n + l] += total[r][n][l];
        }
    }

    // The coefficients inside dm_b/dr: sum_b g_b d2m_b/dr dc = d(phi_k Q_mu)/dr, and the energy's row.
    void direct(int64_t atom, Site &s, const double *g, int64_t offset) {
        double *q = w.rows.need(4 * int64_t(t.radial_count) * s.stride);
        s.polynomials(t, w.adjoint_coefficients(g), q);
        double *total = total_memory.need(10 * block);
        for (int64_t k = 0; k < 10 * block; ++k) total[k] = 0;
        const int n = W * s.vectors;
        const int64_t first = pairs.first[atom];
        for (int other = 0; other < t.species; ++other)
            for (int i = s.begin[other]; i < s.begin[other + 1]; ++i)
                for (int mu = 0; mu < t.radial_count; ++mu) {
                    const int64_t column = (int64_t(other) * t.radial_count + mu) * t.radial_size;
                    double *const row[3] = {target[i] + offset + column, target[n + i] + offset + column,
                                            target[2 * n + i] + offset + column};
                    neighbour(s, q + 4 * int64_t(mu) * s.stride + i, i, first + i, row, total + column);
                }
        for (int row = 0; row < 10; ++row) {
            double *out = (row < 9 ? target[3 * n + row] : rows) + offset;
            for (int64_t k = 0; k < block; ++k) out[k] += total[row * block + k];
        }
    }

    void neighbour(const Site &s, const double *q, int i, int64_t pair, double *const *row, double *total) {
        const double u[3] = {s.u[0][i], s.u[1][i], s.u[2][i]}, value = q[0];
        const double h[3] = {q[s.stride], q[2 * s.stride], q[3 * s.stride]};
        const double along = u[0] * h[0] + u[1] * h[1] + u[2] * h[2];
        const double r[3] = {pairs.x[pair], pairs.y[pair], pairs.z[pair]};
        double across[3];
        for (int k = 0; k < 3; ++k) across[k] = (h[k] - u[k] * along) * s.inverse[i];
        for (int k = 0; k < t.radial_size; ++k) {
            const double f = phi[int64_t(i) * columns + k], d = slope[int64_t(i) * columns + k] * value;
            const double a[3] = {d * u[0] + f * across[0], d * u[1] + f * across[1], d * u[2] + f * across[2]};
            const double part[10] = {a[0],         a[1],         a[2],         -r[0] * a[0], -r[1] * a[1],
                                     -r[2] * a[2], -r[1] * a[2], -r[0] * a[2], -r[0] * a[1], f * value};
            for (int axis = 0; axis < 3; ++axis) row[axis][k] -= a[axis];
            for (int n = 0; n < 10; ++n) total[n * block + k] += part[n];
        }
    }
};

void configuration_rows(const Tables &t, const Pairs &pairs, int64_t configuration, bool linear,
                        double *rows) {
    Jacobian jacobian(t, pairs, linear, rows);
    for (int64_t i = pairs.atom_begin[configuration]; i < pairs.atom_begin[configuration + 1]; ++i)
        jacobian.site(configuration, i);
}
