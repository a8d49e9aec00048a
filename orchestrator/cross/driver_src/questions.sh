# Asks the image's own gcc what it would use: "what value", a line each. POSIX sh, run in the image.
set -e
. /etc/os-release
test "$ID" != debian || echo "suite $VERSION_CODENAME"
gcc=$(command -v gcc) gxx=$(command -v g++)
case $(gcc --version) in *clang*) echo "gcc is clang" >&2; exit 1 ;; esac
machine=$(gcc -dumpmachine)
version=$(gcc -dumpfullversion)
test "$version" = "$(g++ -dumpfullversion)"
echo "gcc $version"

for plain in cc gcc c++ g++; do
    case $plain in cc | gcc) same=$gcc ;; *) same=$gxx ;; esac
    for name in $plain $plain-${version%%.*} $machine-$plain $machine-$plain-${version%%.*}; do
        path=$(command -v $name || true)
        if test -n "$path" && test "$path" -ef "$same"; then echo "name $name $path"; fi
    done
done

headers() {
    "$2" -x "$1" -E -v /dev/null 2>&1 >/dev/null |
        sed -n '/^#include </,/^End of search list/s/^ //p'
}
headers c "$gcc" | sed 's/^/c /'
headers c++ "$gxx" | sed 's/^/cxx /'

gcc -print-search-dirs | sed -n 's/^libraries: =//p' | tr : '\n' | while read -r folder; do
    if test -d "$folder"; then echo "folder $(cd "$folder" && pwd -P)"; fi
done
own=$(dirname "$(gcc -print-libgcc-file-name)")
start=$(dirname "$(gcc -print-file-name=crti.o)")
for file in "$start"/*crt1.o "$start"/crt[in].o "$own"/*.o "$own"/*.a "$own"/*.so* "$own"/*.spec; do
    case $file in
        *plugin* | *libcc1*) ;;  # they belong to the compiler that runs here, not to ours
        *) if test -e "$file"; then echo "file $(cd "$(dirname "$file")" && pwd -P)/${file##*/}"; fi ;;
    esac
done
