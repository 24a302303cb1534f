# Build with buildah into storage that the push container shares; no login is mounted here.

main() {
    source=$(cd /ci-portal/work/source && pwd -P)
    context=$(readlink -f -- "$source/$BUILD_PATH")
    dockerfile=$(readlink -f -- "$source/$REPO_DOCKERFILE")
    mkdir -m 700 /tmp/run || fail build_failed '/tmp can not be written'
    export HOME=/ci-portal/home TMPDIR=/tmp XDG_RUNTIME_DIR=/tmp/run
    if ! cat /etc/containers/registries.conf /etc/containers/registries.conf.d/*.conf 2>/dev/null | grep -q '^ *unqualified-search-registries'; then
        echo 'unqualified-search-registries = ["docker.io"]' >"$HOME/registries.conf"
        export CONTAINERS_REGISTRIES_CONF="$HOME/registries.conf"
    fi
    tls=true
    [ "$REGISTRY_INSECURE" = 1 ] && tls=false
    # The docker format, since OCI images know no SHELL, HEALTHCHECK or ONBUILD and buildah then leaves them out.
    exec buildah --storage-driver vfs --root /ci-portal/storage/root --runroot /ci-portal/storage/run \
        build --format docker --isolation chroot --tls-verify=$tls --file "$dockerfile" --tag "$IMAGE" "$context"
}
