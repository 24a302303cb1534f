# Build and push with a BuildKit daemon of our own, as a user other than root.

main() {
    source=$(cd /ci-portal/work/source && pwd -P)
    context=$(readlink -f -- "$source/$BUILD_PATH")
    dockerfile=$(readlink -f -- "$source/$REPO_DOCKERFILE")
    # The runtime directory holds rootlesskit's and the daemon's sockets.
    mkdir -m 700 /tmp/run || fail build_failed '/tmp can not be written'
    export HOME=/ci-portal/home XDG_RUNTIME_DIR=/tmp/run
    insecure=''
    : >"$HOME/buildkitd.toml"
    if [ "$REGISTRY_INSECURE" = 1 ]; then
        insecure=,registry.insecure=true
        printf '[registry."%s"]\n  http = true\n  insecure = true\n' "$REGISTORY_ADD" >>"$HOME/buildkitd.toml"
    fi
    # no-process-sandbox: a container may not mount a new /proc; RUN steps see the daemon's processes in exchange.
    export BUILDKITD_FLAGS="--root=/ci-portal/storage --config=$HOME/buildkitd.toml --oci-worker-no-process-sandbox"
    # Else BuildKit cuts what a step prints, at 2 MiB and at 200 KiB a second.
    export BUILDKIT_STEP_LOG_MAX_SIZE=-1 BUILDKIT_STEP_LOG_MAX_SPEED=-1
    set -- build --progress=plain --frontend=dockerfile.v0 --metadata-file=/tmp/metadata.json \
        --local "context=$context" --local "dockerfile=${dockerfile%/*}" --opt "filename=${dockerfile##*/}" \
        --output "type=image,name=$IMAGE,push=true$insecure"
    if [ "$BUILD_CACHE" = 1 ]; then
        set -- "$@" --import-cache "type=registry,ref=$CACHE_IMAGE$insecure" \
            --export-cache "type=registry,ref=$CACHE_IMAGE,mode=max,ignore-error=true$insecure"
    fi
    buildctl-daemonless.sh "$@" || exit
    digest=$(tr -d '\n' </tmp/metadata.json | sed -n 's/.*"containerimage\.digest": *"\(sha256:[0-9a-f]*\)".*/\1/p')
    [ -n "$digest" ] || fail no_digest 'the builder ended without telling the digest of the image'
    report digest "$digest"
    printf 'Pushed %s@%s\n' "$IMAGE" "$digest"
}
