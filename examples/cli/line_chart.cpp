#include "line_chart.hpp"

#include "flashback/text/unicode.hpp"
#include "progress.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string_view>

namespace cli {
namespace {

/// Colours on light and on dark pages, dashes and markers: lines that lie on each other are told apart by all three.
struct LineStyle {
    const char* light;
    const char* dark;
    const char* width;
    const char* dash;
    const char* marker;  ///< a path around 0,0
};
constexpr std::array line_styles{
    LineStyle{"#1f62b0", "#74b0ff", "4", "none", "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z"},
    LineStyle{"#c0392b", "#ff8f80", "2", "none", "M-4,-4h8v8h-8z"},
    LineStyle{"#1e8449", "#67d391", "2", "7 4", "M0,-5L5,4L-5,4z"},
    LineStyle{"#8a6100", "#e8bb45", "2", "7 4", "M0,-5L5,0L0,5L-5,0z"},
    LineStyle{"#7d3c98", "#cf9df0", "2", "2 4", "M0,5L5,-4L-5,-4z"},
    LineStyle{"#0b7a75", "#4fd1c5", "2", "9 3 2 3", "M-5,-1.5h3.5v-3.5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5z"},
    LineStyle{"#b0307f", "#f49ac1", "2", "none", "M-4,-5h3l1,3l1,-3h3l-2.5,5l2.5,5h-3l-1,-3l-1,3h-3l2.5,-5z"},
};

constexpr double panel_width = 410;
constexpr double panel_height = 290;
constexpr double plot_left = 64, plot_right = 16, plot_top = 16, plot_bottom = 52;  // around the lines of a panel
constexpr double head_height = 70;
constexpr double line_height = 18;

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : flashback::harmless(text)) {
        switch (c) {
            case '&': out += "&amp;"; break;
            case '<': out += "&lt;"; break;
            case '>': out += "&gt;"; break;
            case '"': out += "&quot;"; break;
            default: out += c;
        }
    }
    return out;
}

std::string text_at(double x, double y, const char* attributes, std::string_view text) {
    return formatted("<text x=\"%.1f\" y=\"%.1f\" ", x, y) + attributes + '>' + escaped(text) + "</text>\n";
}

/// What an axis shows, and where: from `begin` on the paper to `end`.
struct LogAxis {
    double least = std::numeric_limits<double>::infinity();
    double most = 0;
    double begin = 0, end = 0;

    void include(double value) {
        least = std::min(least, value);
        most = std::max(most, value);
    }
    double place(double value) const {
        if (most <= least) return (begin + end) / 2;
        return begin + (end - begin) * std::log(value / least) / std::log(most / least);
    }
};

/// 1, 2 and 5 times the powers of ten that lie on an axis; over more than three powers, these alone.
std::vector<double> ticks_of(const LogAxis& axis) {
    std::vector<double> ticks;
    const bool few = axis.most > 1000 * axis.least;
    const auto last = static_cast<int>(std::ceil(std::log10(axis.most)));
    for (auto power = static_cast<int>(std::floor(std::log10(axis.least))); power <= last; ++power) {
        for (const double factor : {1.0, 2.0, 5.0}) {
            const double tick = factor * std::pow(10, power);
            if ((factor == 1 || !few) && tick >= axis.least * 0.999 && tick <= axis.most * 1.001) ticks.push_back(tick);
        }
    }
    return ticks;
}

bool drawn(const std::pair<double, double>& point) {
    return point.first > 0 && point.second > 0 && std::isfinite(point.first) && std::isfinite(point.second);
}

std::string marker_at(double x, double y, std::size_t style) {
    return formatted("<path class=\"m%zu\" fill=\"%s\" transform=\"translate(%.1f,%.1f)\" d=\"%s\"/>\n", style,
                     line_styles[style].light, x, y, line_styles[style].marker);
}

std::string stroke_of(std::size_t style) {
    const LineStyle& its = line_styles[style];
    return formatted("class=\"l%zu\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" stroke-dasharray=\"%s\"", style, its.light,
                     its.width, its.dash);
}

/// Presentation attributes are for light pages, and for readers without style sheets.
std::string style_sheet() {
    std::string css =
        "<style>@media (prefers-color-scheme: dark){.page{fill:#14181d}.text{fill:#d6dbe1}.grid{stroke:#39414a}"
        ".frame{stroke:#8b949e}";
    for (std::size_t i = 0; i < line_styles.size(); ++i)
        css += formatted(".l%zu{stroke:%s}.m%zu{fill:%s}", i, line_styles[i].dark, i, line_styles[i].dark);
    return css + "}</style>\n";
}

std::string panel_at(const ChartPanel& panel, double left, double top, LogAxis y) {
    LogAxis x{.begin = left + plot_left, .end = left + panel_width - plot_right};
    y.begin = top + panel_height - plot_bottom;
    y.end = top + plot_top;
    for (const ChartLine& line : panel.lines) {
        for (const auto& point : line.points) {
            if (drawn(point)) x.include(point.first);
        }
    }
    std::string svg = "<g class=\"panel\">\n";
    for (const double tick : ticks_of(y)) {
        svg += formatted("<path class=\"grid\" stroke=\"#dddddd\" d=\"M%.1f,%.1fH%.1f\"/>\n", x.begin, y.place(tick), x.end);
        svg += text_at(x.begin - 7, y.place(tick) + 4, "text-anchor=\"end\"", formatted("%g", tick));
    }
    if (!panel.lines.empty()) {
        for (const auto& point : panel.lines[0].points) {
            if (!drawn(point)) continue;
            svg += formatted("<path class=\"grid\" stroke=\"#dddddd\" d=\"M%.1f,%.1fV%.1f\"/>\n", x.place(point.first), y.begin,
                             y.end);
            svg += text_at(x.place(point.first), y.begin + 18, "text-anchor=\"middle\"", formatted("%g", point.first));
        }
    }
    svg += formatted("<path class=\"frame\" fill=\"none\" stroke=\"#666666\" d=\"M%.1f,%.1fV%.1fH%.1f\"/>\n", x.begin, y.end,
                     y.begin, x.end);
    svg += text_at((x.begin + x.end) / 2, y.begin + 40, "text-anchor=\"middle\"", panel.x_title);
    for (std::size_t i = 0; i < panel.lines.size(); ++i) {
        const std::size_t style = i % line_styles.size();
        std::string places, markers;
        for (const auto& point : panel.lines[i].points) {
            if (!drawn(point)) continue;
            places += formatted("%s%.1f,%.1f", places.empty() ? "" : " ", x.place(point.first), y.place(point.second));
            markers += marker_at(x.place(point.first), y.place(point.second), style);
        }
        svg += "<polyline " + stroke_of(style) + " points=\"" + places + "\"><title>" + escaped(panel.lines[i].name) +
               "</title></polyline>\n" + markers;
    }
    return svg + "</g>\n";
}

}  // namespace

std::string svg_of(const LineChart& chart) {
    const std::size_t columns = std::clamp<std::size_t>(chart.panels.size(), 1, 2);
    const std::size_t rows = (chart.panels.size() + columns - 1) / columns;
    const double width = std::max(static_cast<double>(columns), 1.5) * panel_width;
    const double caption_top = head_height + static_cast<double>(rows) * panel_height;
    const double height = caption_top + line_height * static_cast<double>(chart.caption.size()) + 14;
    LogAxis y;
    for (const ChartPanel& panel : chart.panels) {
        for (const ChartLine& line : panel.lines) {
            for (const auto& point : line.points) {
                if (drawn(point)) y.include(point.second);
            }
        }
    }
    if (y.most == 0) y = {.least = 1, .most = 1};
    y.least *= 0.85;  // so that no marker lies on the frame
    y.most *= 1.15;

    std::string svg =
        formatted("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" ", width,
                  height, width, height);
    svg += "role=\"img\" aria-labelledby=\"t\" font-family=\"sans-serif\" font-size=\"12\">\n<title id=\"t\">" +
           escaped(chart.title) + "</title>\n" + style_sheet();
    svg += formatted(
        "<rect class=\"page\" width=\"%.0f\" height=\"%.0f\" rx=\"8\" fill=\"#ffffff\"/>\n<g class=\"text\" "
        "fill=\"#222222\">\n",
        width, height);
    svg += text_at(18, 26, "font-size=\"15\" font-weight=\"bold\"", chart.title);
    svg += text_at(18, 66, "", chart.y_title);
    double at = 18;
    for (std::size_t i = 0; !chart.panels.empty() && i < chart.panels[0].lines.size(); ++i) {
        const std::string& name = chart.panels[0].lines[i].name;
        svg += formatted("<path %s d=\"M%.1f,43h34\"/>\n", stroke_of(i % line_styles.size()).c_str(), at) +
               marker_at(at + 17, 43, i % line_styles.size());
        svg += text_at(at + 40, 47, "", name);
        at += 64 + 7 * static_cast<double>(name.size());
    }
    for (std::size_t i = 0; i < chart.panels.size(); ++i) {
        svg += panel_at(chart.panels[i], static_cast<double>(i % columns) * panel_width,
                        head_height + static_cast<double>(i / columns) * panel_height, y);
    }
    for (std::size_t i = 0; i < chart.caption.size(); ++i)
        svg += text_at(18, caption_top + line_height * static_cast<double>(i + 1), "", chart.caption[i]);
    return svg + "</g>\n</svg>\n";
}

}  // namespace cli
