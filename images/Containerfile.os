# The operating system of every image: Debian bookworm with Python 3.11. Here it is made by debootstrap, because nothing can
# be pulled; elsewhere build with --build-arg BASE_IMAGE=debian:bookworm-slim and the RUN below installs the same packages.
ARG BASE_IMAGE=scratch
FROM ${BASE_IMAGE}
ADD rootfs.tar /
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1
