# The operating system of every image: Debian bookworm with Python 3.11, and one user without rights.
#
# By default rootfs.tar is what debootstrap made of Debian's packages, and nothing is pulled. With
# --build-arg BASE_IMAGE=debian:bookworm-slim it is empty, and the RUN installs the same packages with apt-get.
ARG BASE_IMAGE=scratch
FROM ${BASE_IMAGE}
ARG PACKAGES
ADD rootfs.tar /
RUN if ! test -x /usr/bin/python3; then \
      apt-get update && apt-get install -y --no-install-recommends $(echo "${PACKAGES}" | tr , ' ') && rm -rf /var/lib/apt/lists/*; \
    fi \
 && echo 'clara:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'clara:x:65532:' >> /etc/group
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1
