/// \file A picture of lines, as SVG: made here, so that the tool needs no other program.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace cli {

/// A line through points whose coordinates are above 0; others are left out.
struct ChartLine {
    std::string name;
    std::vector<std::pair<double, double>> points;
};

/// Lines over one axis. Its ticks are the places of the points of the first line.
struct ChartPanel {
    std::string x_title;
    std::vector<ChartLine> lines;
};

/// Panels side by side, which have the same names of lines, in the same order, and one vertical axis. All axes are logarithmic.
struct LineChart {
    std::string title;
    std::string y_title;
    std::vector<std::string> caption;  ///< lines of text below the panels
    std::vector<ChartPanel> panels;
};

/// The picture, readable on light and on dark pages: it follows the reader's preference, and brings its own background. Text in it may be
/// anything; what steers a terminal or is no UTF-8 becomes U+FFFD.
std::string svg_of(const LineChart& chart);

}  // namespace cli
