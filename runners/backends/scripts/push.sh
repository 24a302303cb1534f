# Push what the build left in the shared storage; of all containers only this one has the registry's login.

main() {
    mkdir -m 700 /tmp/run || fail push_failed '/tmp can not be written'
    export HOME=/tmp TMPDIR=/tmp XDG_RUNTIME_DIR=/tmp/run
    tls=true
    [ "$REGISTRY_INSECURE" = 1 ] && tls=false
    buildah --storage-driver vfs --root /ci-portal/storage/root --runroot /ci-portal/storage/run \
        push --authfile /ci-portal/registry/config.json --tls-verify=$tls --digestfile /tmp/digest "$IMAGE" "docker://$IMAGE" || exit
    digest=$(cat /tmp/digest)
    [ -n "$digest" ] || fail no_digest 'the push ended without telling the digest of the image'
    report digest "$digest"
    printf 'Pushed %s@%s\n' "$IMAGE" "$digest"
}
