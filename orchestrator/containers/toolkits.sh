# Lists the CUDA toolkits of an image: "nvcc VERSION PROFILE PATH", a line each. POSIX sh.
for nvcc in "$(command -v nvcc)" "$CUDA_HOME/bin/nvcc" "$CUDA_PATH/bin/nvcc" /usr/local/cuda*/bin/nvcc; do
    if test -x "$nvcc"; then readlink -f "$nvcc"; fi
done | sort -u | while read -r nvcc; do
    bin=$(dirname "$nvcc")
    said=$("$nvcc" --version) || continue
    version=$(echo "$said" | sed -n 's/.*, V//p') build=$(echo "$said" | sed -n 's/^Build //p')
    # Nothing stands in for a wrapper, or for a compiler that was put together from two versions.
    profile=-
    if grep -aqF "$build" "$nvcc" && grep -aqF "$build" "$bin/../nvvm/bin/cicc"; then
        profile=$(sha256sum "$bin/nvcc.profile" | cut -d' ' -f1)
    fi
    test -z "$version" || echo "nvcc $version $profile $nvcc"
done
