"""Development files that builds look for, and the packages of distributions that have them.

Data, not code. A row: beginnings of header names; libraries, names for pkg-config, Meson and CMake,
and ``*-config`` programs; the package for apt (Debian), dnf and yum (manylinux), apk (musllinux).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

_ROWS = """
libxml/                   xml2,libxml-2.0,xml2-config     libxml2-dev          libxml2-devel          libxml2-dev
libxslt/,libexslt/        xslt,exslt,xslt-config          libxslt1-dev         libxslt-devel          libxslt-dev
geos_c.h,geos.h,geos/     geos_c,geos,geos-config         libgeos-dev          geos-devel             geos-dev
hdf5.h,H5public.h,H5pubconf.h  hdf5,h5cc,hdf5_hl          libhdf5-dev          hdf5-devel             hdf5-dev
netcdf.h                  netcdf,nc-config                libnetcdf-dev        netcdf-devel           netcdf-dev
proj.h,proj_api.h         proj                            libproj-dev          proj-devel             proj-dev
gdal.h,gdal/,ogr_api.h    gdal,gdal-config                libgdal-dev          gdal-devel             gdal-dev
spatialindex/             spatialindex,spatialindex_c     libspatialindex-dev  spatialindex-devel     spatialindex-dev
ffi.h                     ffi,libffi                      libffi-dev           libffi-devel           libffi-dev
openssl/                  ssl,crypto,openssl,libssl,libcrypto  libssl-dev      openssl-devel          openssl-dev
zlib.h                    z,zlib                          zlib1g-dev           zlib-devel             zlib-dev
bzlib.h                   bz2,bzip2                       libbz2-dev           bzip2-devel            bzip2-dev
lzma.h                    lzma,liblzma                    liblzma-dev          xz-devel               xz-dev
zstd.h                    zstd,libzstd                    libzstd-dev          libzstd-devel          zstd-dev
lz4.h,lz4frame.h          lz4,liblz4                      liblz4-dev           lz4-devel              lz4-dev
snappy.h,snappy-c.h       snappy                          libsnappy-dev        snappy-devel           snappy-dev
brotli/                   brotlienc,brotlidec,brotlicommon  libbrotli-dev      brotli-devel           brotli-dev
yaml.h                    yaml,yaml-0.1                   libyaml-dev          libyaml-devel          yaml-dev
yajl/                     yajl                            libyajl-dev          yajl-devel             yajl-dev
expat.h                   expat                           libexpat1-dev        expat-devel            expat-dev
sqlite3.h                 sqlite3                         libsqlite3-dev       sqlite-devel           sqlite-dev
libpq-fe.h,libpq/         pq,libpq,pg_config              libpq-dev            libpq-devel            libpq-dev
mysql.h,mysql/,mariadb/   mysqlclient,mariadb,libmariadb,mysql_config,mariadb_config  libmariadb-dev  mariadb-connector-c-devel  mariadb-connector-c-dev
sql.h,sqlext.h            odbc,odbc_config                unixodbc-dev         unixODBC-devel         unixodbc-dev
sybdb.h,ctpublic.h        sybdb,ct                        freetds-dev          freetds-devel          freetds-dev
curl/                     curl,libcurl,curl-config        libcurl4-openssl-dev  libcurl-devel         curl-dev
ssh2.h,libssh2.h          ssh2,libssh2                    libssh2-1-dev        libssh2-devel          libssh2-dev
libssh/                   ssh,libssh                      libssh-dev           libssh-devel           libssh-dev
git2.h                    git2,libgit2                    libgit2-dev          libgit2-devel          libgit2-dev
sodium.h                  sodium,libsodium                libsodium-dev        libsodium-devel        libsodium-dev
gcrypt.h                  gcrypt,libgcrypt-config         libgcrypt20-dev      libgcrypt-devel        libgcrypt-dev
gnutls/                   gnutls                          libgnutls28-dev      gnutls-devel           gnutls-dev
gpgme.h                   gpgme,gpgme-config              libgpgme-dev         gpgme-devel            gpgme-dev
krb5.h,krb5/,gssapi.h,gssapi/  krb5,gssapi_krb5,krb5-gssapi,krb5-config  libkrb5-dev  krb5-devel      krb5-dev
ldap.h,lber.h             ldap,ldap_r,lber                libldap2-dev         openldap-devel         openldap-dev
sasl/                     sasl2,libsasl2                  libsasl2-dev         cyrus-sasl-devel       cyrus-sasl-dev
jpeglib.h,turbojpeg.h     jpeg,turbojpeg,libjpeg          libjpeg62-turbo-dev  libjpeg-turbo-devel    libjpeg-turbo-dev
png.h                     png,png16,libpng,libpng16       libpng-dev           libpng-devel           libpng-dev
tiff.h,tiffio.h           tiff,libtiff-4                  libtiff-dev          libtiff-devel          tiff-dev
webp/                     webp,libwebp                    libwebp-dev          libwebp-devel          libwebp-dev
openjpeg-2                openjp2,libopenjp2              libopenjp2-7-dev     openjpeg2-devel        openjpeg-dev
lcms2.h                   lcms2                           liblcms2-dev         lcms2-devel            lcms2-dev
ft2build.h,freetype/,freetype2/  freetype,freetype2       libfreetype-dev      freetype-devel         freetype-dev
fontconfig/               fontconfig                      libfontconfig1-dev   fontconfig-devel       fontconfig-dev
hb.h,hb-ft.h              harfbuzz                        libharfbuzz-dev      harfbuzz-devel         harfbuzz-dev
cairo.h,cairo/            cairo                           libcairo2-dev        cairo-devel            cairo-dev
pango/                    pango-1.0,pangocairo            libpango1.0-dev      pango-devel            pango-dev
glib.h,gio/,gobject/      glib-2.0,gio-2.0,gobject-2.0    libglib2.0-dev       glib2-devel            glib-dev
girepository.h            girepository-1.0,gobject-introspection-1.0  libgirepository1.0-dev  gobject-introspection-devel  gobject-introspection-dev
dbus/                     dbus-1                          libdbus-1-dev        dbus-devel             dbus-dev
systemd/                  systemd,libsystemd              libsystemd-dev       systemd-devel          elogind-dev
libudev.h                 udev,libudev                    libudev-dev          systemd-devel          eudev-dev
libusb.h,libusb-1.0/      usb-1.0,libusb-1.0              libusb-1.0-0-dev     libusbx-devel          libusb-dev
pcap.h,pcap/              pcap,libpcap,pcap-config        libpcap-dev          libpcap-devel          libpcap-dev
bluetooth/                bluetooth                       libbluetooth-dev     bluez-libs-devel       bluez-dev
cups/                     cups,cups-config                libcups2-dev         cups-devel             cups-dev
X11/                      X11,x11                         libx11-dev           libX11-devel           libx11-dev
GL/gl.h,GL/glx.h          GL,gl,opengl                    libgl-dev            mesa-libGL-devel       mesa-dev
GL/glu.h                  GLU,glu                         libglu1-mesa-dev     mesa-libGLU-devel      glu-dev
EGL/                      EGL,egl                         libegl-dev           mesa-libEGL-devel      mesa-dev
SDL2/,SDL.h               SDL2,sdl2,sdl2-config           libsdl2-dev          SDL2-devel             sdl2-dev
alsa/                     asound,alsa                     libasound2-dev       alsa-lib-devel         alsa-lib-dev
portaudio.h               portaudio,portaudio-2.0         portaudio19-dev      portaudio-devel        portaudio-dev
sndfile.h                 sndfile                         libsndfile1-dev      libsndfile-devel       libsndfile-dev
libavcodec/,libavformat/,libavutil/,libswscale/  avcodec,avformat,avutil,libavcodec,libavformat,libavutil  libavcodec-dev  ffmpeg-devel  ffmpeg-dev
gmp.h                     gmp                             libgmp-dev           gmp-devel              gmp-dev
mpfr.h                    mpfr                            libmpfr-dev          mpfr-devel             mpfr-dev
mpc.h                     mpc                             libmpc-dev           libmpc-devel           mpc1-dev
fftw3.h                   fftw3,fftw3f,FFTW3              libfftw3-dev         fftw-devel             fftw-dev
cblas.h,openblas          openblas,blas,cblas,BLAS,OpenBLAS  libopenblas-dev   openblas-devel         openblas-dev
lapacke.h,lapack          lapack,lapacke,LAPACK           liblapack-dev        lapack-devel           lapack-dev
Eigen/,eigen3/            eigen3,Eigen3                   libeigen3-dev        eigen3-devel           eigen-dev
boost/                    boost,Boost,boost_system        libboost-all-dev     boost-devel            boost-dev
gsl/                      gsl,gsl-config                  libgsl-dev           gsl-devel              gsl-dev
suitesparse/,cholmod.h,umfpack.h  cholmod,umfpack,suitesparseconfig  libsuitesparse-dev  suitesparse-devel  suitesparse-dev
glpk.h                    glpk                            libglpk-dev          glpk-devel             glpk-dev
mpi.h                     mpi,MPI,mpicc                   libopenmpi-dev       openmpi-devel          openmpi-dev
omp.h                     gomp,OpenMP                     libgomp1             libgomp                libgomp
tbb/                      tbb,TBB                         libtbb-dev           tbb-devel              onetbb-dev
numa.h                    numa                            libnuma-dev          numactl-devel          numactl-dev
google/protobuf/          protobuf,protoc,Protobuf        libprotobuf-dev      protobuf-devel         protobuf-dev
rocksdb/                  rocksdb                         librocksdb-dev       rocksdb-devel          rocksdb-dev
leveldb/                  leveldb                         libleveldb-dev       leveldb-devel          leveldb-dev
lmdb.h                    lmdb                            liblmdb-dev          lmdb-devel             lmdb-dev
db.h                      db                              libdb-dev            libdb-devel            db-dev
gdbm.h                    gdbm                            libgdbm-dev          gdbm-devel             gdbm-dev
uv.h                      uv,libuv                        libuv1-dev           libuv-devel            libuv-dev
event.h,event2/           event,libevent                  libevent-dev         libevent-devel         libevent-dev
ev.h                      ev                              libev-dev            libev-devel            libev-dev
zmq.h                     zmq,libzmq                      libzmq3-dev          zeromq-devel           zeromq-dev
librdkafka/               rdkafka                         librdkafka-dev       librdkafka-devel       librdkafka-dev
re2/                      re2                             libre2-dev           re2-devel              re2-dev
pcre.h                    pcre,libpcre,pcre-config        libpcre3-dev         pcre-devel             pcre-dev
pcre2.h                   pcre2-8,libpcre2-8,pcre2-config  libpcre2-dev        pcre2-devel            pcre2-dev
unicode/                  icuuc,icui18n,icu-uc,icu-i18n,icu-config,ICU  libicu-dev  libicu-devel      icu-dev
ncurses.h,curses.h        ncurses,ncursesw,tinfo,curses   libncurses-dev       ncurses-devel          ncurses-dev
readline/                 readline                        libreadline-dev      readline-devel         readline-dev
uuid/                     uuid                            uuid-dev             libuuid-devel          util-linux-dev
magic.h                   magic,libmagic                  libmagic-dev         file-devel             file-dev
archive.h                 archive,libarchive              libarchive-dev       libarchive-devel       libarchive-dev
tcl.h                     tcl,tcl8.6                      tcl-dev              tcl-devel              tcl-dev
tk.h                      tk,tk8.6                        tk-dev               tk-devel               tk-dev
lua.h,luaconf.h           lua,lua5.4                      liblua5.4-dev        lua-devel              lua5.4-dev
augeas.h                  augeas                          libaugeas-dev        augeas-devel           augeas-dev
libvirt/                  virt,libvirt                    libvirt-dev          libvirt-devel          libvirt-dev
fuse.h,fuse3/             fuse,fuse3                      libfuse3-dev         fuse3-devel            fuse3-dev
attr/,sys/acl.h           acl,attr                        libacl1-dev          libacl-devel           acl-dev
sys/capability.h          cap                             libcap-dev           libcap-devel           libcap-dev
seccomp.h                 seccomp,libseccomp              libseccomp-dev       libseccomp-devel       libseccomp-dev
security/pam              pam                             libpam0g-dev         pam-devel              linux-pam-dev
nl-types.h,netlink/       nl-3,libnl-3.0                  libnl-3-dev          libnl3-devel           libnl3-dev
graphviz/                 cgraph,gvc,libcgraph            libgraphviz-dev      graphviz-devel         graphviz-dev
poppler/                  poppler-cpp,poppler             libpoppler-cpp-dev   poppler-cpp-devel      poppler-dev
xmlsec/                   xmlsec1,xmlsec1-config          libxmlsec1-dev       xmlsec1-devel          xmlsec-dev
enchant.h                 enchant-2                       libenchant-2-dev     enchant2-devel         enchant2-dev
hunspell/                 hunspell                        libhunspell-dev      hunspell-devel         hunspell-dev
tesseract/                tesseract                       libtesseract-dev     tesseract-devel        tesseract-ocr-dev
raqm.h                    raqm                            libraqm-dev          libraqm-devel          raqm-dev
imagequant.h,libimagequant.h  imagequant                  libimagequant-dev    libimagequant-devel    libimagequant-dev
avif/                     avif,libavif                    libavif-dev          libavif-devel          libavif-dev
leptonica/                lept                            libleptonica-dev     leptonica-devel        leptonica-dev
"""  # noqa: E501 - a table


_PROGRAMS = """
swig                      swig           swig           swig
gfortran,fortran,CMAKE_Fortran_COMPILER  gfortran  gcc-gfortran  gfortran
cargo,rustc,rust          cargo          cargo          cargo
go,golang                 golang-go      golang         go
dot                       graphviz       graphviz       graphviz
proj                      proj-bin       proj           proj-util
nasm                      nasm           nasm           nasm
yasm                      yasm           yasm           yasm
cmake                     cmake          cmake          cmake
ninja,ninja-build         ninja-build    ninja-build    samurai
make,gmake                make           make           make
autoreconf,autoconf       autoconf       autoconf       autoconf
automake,aclocal          automake       automake       automake
libtool,libtoolize        libtool        libtool        libtool
pkg-config,pkgconf,pkg_config,PkgConfig  pkg-config  pkgconf-pkg-config  pkgconf
bison,yacc                bison          bison          bison
flex,lex                  flex           flex           flex
m4                        m4             m4             m4
gperf                     gperf          gperf          gperf
patch                     patch          patch          patch
perl                      perl           perl           perl
git                       git            git            git
java,javac                default-jdk-headless  java-devel  openjdk21
gcc,cc,CMAKE_C_COMPILER   gcc            gcc            gcc
g++,c++,CMAKE_CXX_COMPILER  g++          gcc-c++        g++
clang,clang++             clang          clang          clang
"""
"""Programs that builds start: names, and the package for apt, dnf and yum, apk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPackage:
    """The packages that have some development files or a program, by the manager of packages."""

    headers: tuple[str, ...] = ()
    names: tuple[str, ...]
    apt: str
    dnf: str
    apk: str

    def has(self, kind: str, name: str) -> bool:
        """Whether it has a header, a program, or what another ``kind`` of name stands for.

        What build systems call a package may be a program that they can do without.
        """
        if kind == "header":
            return any(name == each or name.startswith(each) for each in self.headers)
        plain = name.removeprefix("lib").removesuffix(".so")
        is_one = bool({name.lower(), plain.lower()} & {each.lower() for each in self.names})
        return is_one and (kind == "program" or bool(self.headers))


@cache
def system_packages() -> tuple[SystemPackage, ...]:
    """Return the table."""
    libraries = (line.split() for line in _ROWS.strip().splitlines())
    programs = (["", *line.split()] for line in _PROGRAMS.strip().splitlines())
    return tuple(
        SystemPackage(
            headers=tuple(filter(None, headers.split(","))),
            names=tuple(names.split(",")),
            apt=apt,
            dnf=dnf,
            apk=apk,
        )
        for headers, names, apt, dnf, apk in (*programs, *libraries)
    )
