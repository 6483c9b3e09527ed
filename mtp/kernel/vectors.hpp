// W doubles as one value, and memory that grows. Included inside the namespace of each variant.

#define MTP_INLINE static inline __attribute__((always_inline))

#ifdef MTP_WIDTH  // one register of so many doubles
constexpr int W = MTP_WIDTH;
typedef double vec __attribute__((vector_size(8 * MTP_WIDTH), may_alias));
typedef double vecu __attribute__((vector_size(8 * MTP_WIDTH), aligned(8), may_alias));

MTP_INLINE vec load(const double *p) { return *(const vecu *)p; }
MTP_INLINE void store(double *p, vec a) { *(vecu *)p = a; }
MTP_INLINE vec splat(double a) { return a - vec{}; }
MTP_INLINE vec positive(vec a) { return a > 0 ? a : splat(0); }
#if MTP_WIDTH == 8
MTP_INLINE vec root(vec a) { return (vec)_mm512_maskz_sqrt_pd(0xff, (__m512d)a); }
#else
MTP_INLINE vec root(vec a) { return (vec)_mm256_sqrt_pd((__m256d)a); }
#endif
#else
constexpr int W = 4;
// Two registers of two doubles, which every x86-64 and ARM processor has; compilers keep such a pair
// in registers but not a vector wider than the machine's.
typedef double v2 __attribute__((vector_size(16), may_alias));
typedef double v2u __attribute__((vector_size(16), aligned(8), may_alias));

struct __attribute__((may_alias)) vec {
    v2 a, b;
    double &operator[](int lane) { return ((double *)this)[lane]; }
    double operator[](int lane) const { return lane < 2 ? a[lane] : b[lane - 2]; }
};

MTP_INLINE vec load(const double *p) { return {*(const v2u *)p, *(const v2u *)(p + 2)}; }
MTP_INLINE void store(double *p, vec x) {
    *(v2u *)p = x.a;
    *(v2u *)(p + 2) = x.b;
}
MTP_INLINE vec splat(double x) { return {v2{x, x}, v2{x, x}}; }
MTP_INLINE vec operator+(vec x, vec y) { return {x.a + y.a, x.b + y.b}; }
MTP_INLINE vec operator-(vec x, vec y) { return {x.a - y.a, x.b - y.b}; }
MTP_INLINE vec operator*(vec x, vec y) { return {x.a * y.a, x.b * y.b}; }
MTP_INLINE vec operator*(double x, vec y) { return splat(x) * y; }
MTP_INLINE vec operator/(double x, vec y) { return {x / y.a, x / y.b}; }
MTP_INLINE vec root(vec x) {
    for (int l = 0; l < W; ++l) x[l] = __builtin_sqrt(x[l]);
    return x;
}
MTP_INLINE vec operator-(vec x, double y) { return x - splat(y); }
MTP_INLINE vec operator-(double x, vec y) { return splat(x) - y; }
MTP_INLINE vec operator-(vec x) { return {-x.a, -x.b}; }
MTP_INLINE vec &operator+=(vec &x, vec y) { return x = x + y; }
MTP_INLINE vec &operator-=(vec &x, vec y) { return x = x - y; }
MTP_INLINE vec &operator+=(vec &x, double y) { return x = x + splat(y); }
MTP_INLINE vec positive(vec x) {
    const v2 zero = {0, 0};
    return {x.a > zero ? x.a : zero, x.b > zero ? x.b : zero};
}
#endif

MTP_INLINE void add(double *p, vec a) { store(p, load(p) + a); }
#if MTP_WIDTH == 8
typedef double half __attribute__((vector_size(32), may_alias));
MTP_INLINE double sum(vec x) {
    const half a = ((const half *)&x)[0] + ((const half *)&x)[1];
    return (a[0] + a[2]) + (a[1] + a[3]);
}
#else
MTP_INLINE double sum(vec a) { return (a[0] + a[2]) + (a[1] + a[3]); }
#endif

class Buffer {
    double *data = nullptr;
    int64_t capacity = 0;

public:
    double *need(int64_t count) {
#ifdef __SANITIZE_ADDRESS__  // no slack in which an overflow could hide
        const bool fits = count == 0 || count == capacity;
        const int64_t wanted = count;
#else
        const bool fits = count <= capacity;
        const int64_t wanted = count + count / 4 + 64;
#endif
        if (!fits) {
            free(data);
            data = nullptr;
            capacity = wanted;
            if (posix_memalign((void **)&data, 64, wanted * 8)) out_of_memory();
        }
#ifdef MTP_POISON  // tests build this: whatever is read before it is written shows as NaN
        for (int64_t i = 0; i < count; ++i) data[i] = __builtin_nan("");
#endif
        return data;
    }
    Buffer() = default;
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { free(data); }
};
