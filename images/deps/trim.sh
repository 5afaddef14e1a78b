# Runs in the layer that installed the packages: takes out what nobody runs, makes what cannot be made later.
set -eu
packages=$(/opt/gavip/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# tests of packages that import nothing from their own; astropy.tests, numpy.testing and the like are libraries and stay
for name in astropy/* astroML astroquery bokeh dask distributed matplotlib mpl_toolkits networkx numba numexpr numpy \
    pandas patsy psutil pyarrow pyerfa pyvo pywt scipy seaborn skimage sklearn statsmodels sqlalchemy tornado zmq; do
    for folder in $packages/$name; do
        [ "$folder" = "$packages/astropy/tests" ] && continue
        [ -d "$folder" ] && find "$folder" -depth -type d -name tests -exec rm -r {} +
    done
done
# for debuggers of browsers
find /opt/gavip/share "$packages" -name '*.map' -delete
# pages of the hub, which no server of user code shows; the platform's own image has Node beside them
[ -e /opt/gavip/bin/node ] || rm -rf /opt/gavip/share/jupyterhub/static

# fonts: matplotlib looks through them once per HOME, which here means in every container
if [ ! -e "$packages/gavip_caches.pth" ]; then
    cp /usr/share/gavip/start/gavip_caches.* "$packages/"
    /opt/gavip/bin/python -m compileall -q "$packages/gavip_caches.py"
fi
if [ -d "$packages/matplotlib" ] && [ ! -d /usr/share/gavip/matplotlib ]; then
    MPLCONFIGDIR=/usr/share/gavip/matplotlib MPLBACKEND=agg /opt/gavip/bin/python -c 'import matplotlib.font_manager'
fi
